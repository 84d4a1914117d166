"""The kernel boundary: the C shim and the only Python that knows cffi."""
