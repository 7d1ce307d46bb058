"""The vendor's compiler, where it is installed: models in files → files for real Edge TPUs."""

from atoll.vendor.compiler import VendorCompiler, VendorResult, compile_all, find_compiler

__all__ = ["VendorCompiler", "VendorResult", "compile_all", "find_compiler"]
