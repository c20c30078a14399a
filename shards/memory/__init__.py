"""Counted allocation, reference-counted blobs, the keyed hash."""
