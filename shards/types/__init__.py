"""Data structures without commands; each has check() and a plain-Python model in the tests."""
