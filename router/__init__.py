"""The router process and its I/O workers: supervision, configuration, routing and merging."""
