"""Which Redis this server is compatible with, and which version of itself it is."""

from typing import Final

REDIS_VERSION: Final = "7.2.6"
"""What HELLO and INFO say: clients choose their features by it."""
SHARDIS_VERSION: Final = "0.1.0"
