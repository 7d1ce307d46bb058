"""The vendor's Python API 2.0, name for name, on this package: ``import atoll.pycoral as pycoral``."""
