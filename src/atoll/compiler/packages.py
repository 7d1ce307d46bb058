"""A compiled model → its packages, and whether a device can run them."""

from __future__ import annotations

from atoll.compiler.package_format import VIRTUAL_CHIP, Package, read_package
from atoll.errors import DeviceError, RuntimeTooOldError
from atoll.model import CUSTOM_OP, Model

UPDATE = "Update the Edge TPU runtime, or compile the model for an older one (--min-runtime-version)."


def packages(model: Model) -> list[Package]:
    """The packages of a compiled model, in the order of its operators."""
    where = model.path or "the model"
    return [
        read_package(operator.custom_options, f"{where}, operator {index}")
        for index, operator in enumerate(model.main.operators)
        if operator.custom_code == CUSTOM_OP
    ]


def require_runtime(package: Package, version: int | None) -> None:
    """Raises RuntimeTooOldError, in the vendor's words, when a runtime of that version refuses the package."""
    if version is not None and package.min_runtime_version > version:
        raise RuntimeTooOldError(
            f"Failed precondition: Package requires runtime version ({package.min_runtime_version}), "
            f"which is newer than this runtime version ({version})",
            UPDATE,
        )


def require_real(package: Package, where: str) -> None:
    """Raises DeviceError when the package was made for virtual devices only."""
    if any(executable.chip == VIRTUAL_CHIP for executable in package.executables):
        raise DeviceError(
            f"{where or 'the model'} was compiled for virtual Edge TPUs: it holds no machine code for a real one",
            "Compile it with the vendor's compiler (--codegen vendor), or run it on a virtual device.",
        )
