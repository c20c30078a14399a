"""Native only: unions, differences and intersections (set_algebra.pxd)."""
