"""Native only: what a Store knows of its types (registry.pxd)."""
