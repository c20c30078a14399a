"""What `enable-debug-command` and its like allow: nobody, everybody, or who is on this host."""

from __future__ import annotations


def is_local(address: str, local_address: str) -> bool:
    """Whether a client with these two addresses (as sessions show them) is on this host."""
    # Both ends of a unix socket are shown as its path.
    return address.startswith(("127.", "[::1]:", "[::ffff:127.")) or address == local_address


def allowed(setting: str, address: str, local_address: str) -> bool:
    """Whether the value of such a directive (no, yes, local) allows this client."""
    return setting == "yes" or (setting == "local" and is_local(address, local_address))
