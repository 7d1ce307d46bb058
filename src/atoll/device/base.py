"""What real and virtual Edge TPUs have in common."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from ai_edge_litert.interpreter import OpResolverType

from atoll.model import Model

Kind = Literal["pci", "usb"]
Bus = Literal["pcie", "usb3", "usb2"]

BUSES: dict[str, tuple[str, ...]] = {
    "pcie": ("pcie",),
    "pci": ("pcie",),
    "usb": ("usb3", "usb2"),
    "usb3": ("usb3",),
    "usb2": ("usb2",),
}
"""What a user may ask for -> the buses that fit."""


class EdgeTpu(Protocol):
    """One device. ``listed`` devices belong to the machine and are leased; others are private to their maker."""

    @property
    def path(self) -> str: ...
    @property
    def type(self) -> Kind: ...
    @property
    def bus(self) -> Bus: ...
    @property
    def virtual(self) -> bool: ...
    @property
    def listed(self) -> bool: ...
    @property
    def interpreters(self) -> int:
        """How many interpreters of this process use the device."""

    def delegate(self, model: Model, resolver: OpResolverType) -> Any:
        """A delegate for LiteRT's ``Interpreter`` that runs the compiled operators of ``model``."""
