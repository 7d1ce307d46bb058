"""The virtual Edge TPU: a compiled file in → a delegate that runs its regions with LiteRT's CPU kernels."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Literal

from ai_edge_litert.interpreter import OpResolverType

from atoll.compiler.package_format import ExecutableKind, Package
from atoll.compiler.packages import packages as read_packages
from atoll.compiler.packages import require_runtime
from atoll.device.virtual.clock import wait_until
from atoll.device.virtual.delegate import Delegate, Node
from atoll.device.virtual.faults import NO_FAULTS, Faults
from atoll.device.virtual.region import (
    RESOLVER,
    Region,
    original_operators,
    original_source,
    require_main_graph,
    require_same_origin,
)
from atoll.device.virtual.sram import Sram
from atoll.device.virtual.thermal import TRIP_POINTS_C, Cooling, Thermometer
from atoll.errors import DeviceError, DeviceLostError
from atoll.hardware.buses import BUSES, BusName, DeviceType
from atoll.model import CUSTOM_OP, Model
from atoll.model.tflite import model_bytes

__all__ = ["RESOLVER", "Invocation", "Region", "VirtualEdgeTpu"]

RUNTIME_VERSION = 14
"""What compiler 16 asks for, so the newest that a file needs (../shared/facts/compiler.md)."""

CLOCKS_MHZ = {"max": 500.0, "standard": 250.0, "reduced": 125.0}
"""../shared/facts/hardware.md: ``Performance`` Max, High (the standard USB runtime) and Medium."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """One inference that a device is about to run: what its latency depends on, beside the model.

    ``loaded_bytes`` of parameters go to the chip first; ``clock_mhz`` is the clock after throttling;
    ``link_slowdown`` is how many times as long transfers take.
    """

    model: str
    bus: BusName
    loaded_bytes: int
    clock_mhz: float
    link_slowdown: float = 1.0


@dataclass(eq=False)
class VirtualEdgeTpu:
    """One virtual device. It runs one inference after the other, whichever interpreters and threads ask for it.

    ``latency`` is what an inference takes in seconds (the load of parameters comes on top of it), or a function
    that says so for each inference (load, clock and link included). With ``real_time`` an inference takes at least
    that long; without, results come at once, and ``modelled_s`` says what they would have taken.
    """

    path: str = "virtual"
    type: DeviceType = "pci"
    latency: float | Callable[[Invocation], float] = 0.0
    usb: Literal[2, 3] = 3
    runtime_version: int = RUNTIME_VERSION
    clock: str = "max"
    """A key of :data:`CLOCKS_MHZ`."""
    cooling: Cooling | None = None
    faults: Faults = NO_FAULTS
    real_time: bool = True
    listed: bool = False
    """Devices of the machine, as ``list_edge_tpus`` shows them, are leased to one process at a time."""
    virtual: bool = field(default=True, init=False)
    connected: bool = field(default=True, init=False)
    sram: Sram = field(default_factory=Sram, init=False)
    inferences: int = field(default=0, init=False)
    late: int = field(default=0, init=False)
    """Inferences in real time that this machine's CPU took longer for than the device is modelled to take."""
    modelled_s: float = field(default=0.0, init=False)
    """Latency of the last inference as modelled; 0 without ``latency``."""
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _unstalled: threading.Event = field(default_factory=threading.Event, init=False, repr=False)
    _delegates: weakref.WeakSet[Delegate] = field(default_factory=weakref.WeakSet, init=False, repr=False)
    _resident: object = field(default=None, init=False, repr=False)
    """Key of the program that ran last, if everything of it is still cached."""
    _heat: Thermometer | None = field(default=None, init=False, repr=False)
    _free_at: float = field(default=0.0, init=False, repr=False)
    """When the device has worked off what it was given, in real time."""
    _idle_since: float = field(default_factory=time.perf_counter, init=False, repr=False)

    def __post_init__(self) -> None:
        self._check_setting()
        self._heat = Thermometer(self.cooling) if self.cooling else None

    def _check_setting(self) -> None:
        if not callable(self.latency) and not 0 <= self.latency < threading.TIMEOUT_MAX:
            raise DeviceError(f"a latency of {self.latency} s is not possible", "Give seconds, 0 or more.")
        if self.clock not in CLOCKS_MHZ:
            raise DeviceError(f"'{self.clock}' is not a clock setting", f"Known are {', '.join(CLOCKS_MHZ)}.")

    def __reduce__(self) -> tuple[Callable[..., VirtualEdgeTpu], tuple[dict[str, Any]]]:
        """Another process gets a device of its own that is set up the same, and has run nothing yet."""
        settings = {each.name: getattr(self, each.name) for each in fields(self) if each.init}
        return _made_again, (settings,)

    @property
    def interpreters(self) -> int:
        """How many interpreters use the device now."""
        return len(self._delegates)

    @property
    def bus(self) -> BusName:
        """What it hangs on."""
        return "pcie" if self.type == "pci" else "usb3" if self.usb == 3 else "usb2"

    @property
    def temperature_c(self) -> float | None:
        """Modelled temperature; None without ``cooling`` or such a fault."""
        if self.faults.temperature_c is not None:
            return self.faults.temperature_c
        return self._heat.temperature_c if self._heat else None

    @property
    def clock_mhz(self) -> float:
        """The clock now: the setting, halved at each trip point that is reached."""
        if self.faults.temperature_c is not None:
            trips = self.cooling.trip_points_c if self.cooling else TRIP_POINTS_C
            halvings = sum(self.faults.temperature_c >= trip for trip in trips)
        else:
            halvings = self._heat.halvings if self._heat else 0
        return CLOCKS_MHZ[self.clock] / (1 << halvings)

    def delegate(self, model: Model, resolver: OpResolverType = RESOLVER, original: Model | None = None) -> Delegate:
        """The delegate for one interpreter of the compiled file ``model``, whose kernels come from ``resolver``.

        ``original`` is the uncompiled model of a file that does not keep its original operators, as those of the
        vendor's compiler; the compiled regions are found in it by the names of their tensors.

        Raises:
            DeviceError: the original operators are missing or not those of this file, the runtime is too old for it,
                or the device is gone.
            CorruptPackageError, InvalidModelError: a package is damaged, or LiteRT cannot run the original operators.
        """
        if not self.connected:
            raise self._gone()
        require_main_graph(model)
        if original is None:
            source, graph = original_source(model)
        else:
            require_same_origin(model, original)
            source, graph = original, 0
        # Before LiteRT calls back: what is wrong with the file is said as what it is, and not from within its calls.
        packages = iter(read_packages(model))
        parts = {}
        for number, operator in enumerate(model.main.operators):
            if operator.custom_code == CUSTOM_OP:
                package = next(packages)
                require_runtime(package, self.runtime_version)
                part = original_operators(model.main, operator, source, graph)
                parts[number] = _Part(_caches(package), Region(part, bytes(model_bytes(part)), resolver))
        delegate = Delegate(partial(_Program, self, model.path, parts))
        self._delegates.add(delegate)
        return delegate

    @contextlib.contextmanager
    def configured(
        self,
        *,
        clock: str | None = None,
        latency: float | Callable[[Invocation], float] | None = None,
        real_time: bool | None = None,
    ) -> Iterator[None]:
        """Another clock, latency or way of waiting until the block ends; None: as it is. ``late`` begins at 0.

        Raises:
            DeviceError: there is no such clock, or no such latency.
        """
        before = self.clock, self.latency, self.real_time
        try:
            self.clock = self.clock if clock is None else clock
            self.latency = self.latency if latency is None else latency
            self.real_time = self.real_time if real_time is None else real_time
            self._check_setting()
            self.late = 0
            yield
        finally:
            self.clock, self.latency, self.real_time = before

    def reset(self) -> None:
        """As after replugging: connected, not stalled, nothing to do, and nothing cached."""
        self._unstalled.set()
        with self._lock:
            self._unstalled.clear()
            self.connected = True
            self.sram.wipe()
            self._resident = None
            self._free_at = 0.0

    def execute(self, program: _Program) -> None:
        """One inference. What comes while another is running waits in the device's queue, as on the chip."""
        with self._lock:
            self.inferences += 1
            if self.faults is not NO_FAULTS or not self.connected:
                self._misbehave()
            loaded = 0 if self._resident is program.key else self._load(program)
            if not self.latency and self._heat is None:
                for region in program.regions:
                    region.run()
                return
            begin = max(time.perf_counter(), self._free_at)
            seconds = self._model(program, loaded, begin)
            for region in program.regions:
                region.run()
            if not self.real_time:
                return
            self._free_at = done = begin + seconds
            self.late += time.perf_counter() > done
        wait_until(done)

    def _load(self, program: _Program) -> int:
        """Bring the program's parameters into the chip's memory; how many bytes had to be moved."""
        loaded = sum(self.sram.load(cache, cache.token, cache.size) for cache in program.caches)
        self._resident = program.key if program.coexists else None
        return loaded

    def _model(self, program: _Program, loaded: int, now: float) -> float:
        """The latency of this inference, and what it does to the temperature."""
        if self._heat:
            self._heat.advance(now - self._idle_since, busy=False)
        clock, slowdown = self.clock_mhz, self.faults.link_slowdown
        if callable(self.latency):
            seconds = self.latency(Invocation(program.name, self.bus, loaded, clock, slowdown))
        else:
            throttled = CLOCKS_MHZ[self.clock] / clock
            seconds = (self.latency * throttled + loaded / (BUSES[self.bus].load_mb_s * 1e6)) * slowdown
        if not 0 <= seconds < threading.TIMEOUT_MAX:
            raise DeviceError(f"a latency of {seconds} s is not possible", "Give seconds, 0 or more.")
        if self._heat:
            self._heat.advance(seconds, busy=True)
            self._idle_since = now + (seconds if self.real_time else 0.0)
        self.modelled_s = seconds
        return seconds

    def _misbehave(self) -> None:
        faults, number = self.faults, self.inferences
        if faults.disconnect_at is not None and number == faults.disconnect_at:
            self.connected = False
        if not self.connected:
            raise self._gone()
        patience = None if faults.stall_s == float("inf") else faults.stall_s
        if number == faults.stall_at and self._unstalled.wait(patience):
            raise DeviceError(f"{self.path} was reset while inference {number} hung", "Run it again.")
        if number == faults.error_at:
            raise DeviceError(f"{self.path} failed on inference {number} (an injected fault)", "Run it again.")

    def _gone(self) -> DeviceLostError:
        return DeviceLostError(
            f"{self.path} is disconnected (an injected fault)",
            "Plug it in again (reset()), and open the model anew.",
        )


def _made_again(settings: dict[str, Any]) -> VirtualEdgeTpu:
    return VirtualEdgeTpu(**settings)


class _Cache:
    """What one executable wants to keep on the chip."""

    __slots__ = ("__weakref__", "size", "token")

    def __init__(self, token: int, size: int) -> None:
        self.token = token
        self.size = size


@dataclass(frozen=True, slots=True)
class _Part:
    """One custom operator, ready to run."""

    caches: list[_Cache]
    region: Region


class _Program:
    """The kernel of one delegate node: the parts of its operators, by their numbers, at the node's tensors."""

    def __init__(self, device: VirtualEdgeTpu, name: str, parts: dict[int, _Part], nodes: Sequence[Node]) -> None:
        self.name = name
        self.caches: list[_Cache] = []
        self.regions: list[Region] = []
        for node in nodes:
            if node.number not in parts:  # they keep the state of one interpreter
                raise DeviceError("the delegate is in use by another interpreter", "Make a delegate for each.")
            part = parts.pop(node.number)
            part.region.bind(node)
            self.caches += part.caches
            self.regions.append(part.region)
        self.key = object()
        tokens = {cache.token for cache in self.caches}
        self.coexists = len(tokens) <= 1 and 0 not in tokens
        """Whether it is still cached as a whole after it has run."""
        self._device = device

    def invoke(self) -> None:
        self._device.execute(self)


def _caches(package: Package) -> list[_Cache]:
    kind = ExecutableKind.PARAMETER_CACHING
    return [_Cache(item.token, len(item.parameters)) for item in package.executables if item.kind is kind]
