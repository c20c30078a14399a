"""See replies.pyx."""

# The index after the reply that begins at `at`; -1: it does not end, or is none. O(bytes).
cdef Py_ssize_t skip(const char *data, Py_ssize_t size, Py_ssize_t at) noexcept nogil
