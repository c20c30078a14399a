"""Checks of a Store; native only (see invariants.pxd)."""
