"""Looks into a keyspace for DEBUG: digest, layout of encodings, figures of hash tables."""
