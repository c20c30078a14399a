"""Reference-counted byte blocks; native only (see blob.pxd)."""
