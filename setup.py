"""Compiles the shim; everything else is in pyproject.toml."""

from setuptools import setup

setup(cffi_modules=["zclab/uring/build.py:ffibuilder"])
