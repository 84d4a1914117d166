"""Compiles the shim; everything else is in pyproject.toml."""

import sys

from setuptools import setup

# The explaining half, which rebuilds reports, needs neither Linux nor a compiler.
LINUX = sys.platform.startswith("linux")

setup(cffi_modules=["zclab/uring/build.py:ffibuilder"] if LINUX else [])
