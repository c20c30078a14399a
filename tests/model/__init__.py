"""Plain-Python models that the kernels and the handlers are checked against."""
