"""The vendor's compiler, where it is installed: models in files → files for real Edge TPUs."""

from atoll.compiler.external.vendor_compiler import INSTALL, VendorCompiler, VendorResult, compile_all, find_compiler

__all__ = ["INSTALL", "VendorCompiler", "VendorResult", "compile_all", "find_compiler"]
