"""Active expiry; native only (see expiry.pxd)."""
