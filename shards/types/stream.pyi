"""Native only: streams (stream.pxd)."""
