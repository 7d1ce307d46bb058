"""Devices at hand and the goal → the steps by which a search may hand them out to segments."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

Objective = Literal["throughput", "latency"]
State = tuple[int, ...]


class Transition(NamedTuple):
    """Give the next segment ``replicas`` devices of kind number ``kind``: from one state of the fleet to another."""

    source: State
    kind: int
    replicas: int
    target: State
    may_end: bool = True
    """Whether the segment may be the last one: not while devices are left that have to be used."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The devices segments may be put on, by kind (``("pcie", "pcie", "usb")``); not all of them must be used.

    ``ordered``: segments follow each other along the list (a bus topology); otherwise any segment takes any device.
    ``max_replicas``: how many devices of one kind may share a segment, each taking every r-th item.
    ``limit``: how many of the devices of an unordered fleet may be used, None for all.
    ``all_used``: as many as that have to be used (of an unordered fleet).
    """

    devices: tuple[str, ...]
    ordered: bool = False
    max_replicas: int = 1
    limit: int | None = None
    all_used: bool = False

    @classmethod
    def of(cls, count: int, kind: str = "any", max_replicas: int = 1) -> Fleet:
        """``count`` devices of one kind."""
        return cls((kind,) * count, max_replicas=max_replicas)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Each once, in the order of the devices."""
        return tuple(dict.fromkeys(self.devices))

    @property
    def size(self) -> int:
        """How many devices may be used."""
        return len(self.devices) if self.limit is None else min(self.limit, len(self.devices))

    @property
    def fewest_segments(self) -> int:
        """How many it takes at least to use what has to be used."""
        return sum(-(-self.devices.count(kind) // self.max_replicas) for kind in self.kinds) if self.all_used else 1

    def layers(self, most: int) -> list[list[Transition]]:
        """For the first, second, ... segment (at most ``most``) every step the fleet allows.

        The state of an unordered fleet is how many of each kind are taken, that of an ordered one the next device.
        In an ordered fleet only the first devices left of a kind are tried: later ones leave fewer.
        """
        states: list[State] = [(0,) if self.ordered else (0,) * len(self.kinds)]
        layers = []
        for _ in range(min(most, self.size)):
            layer = [step for state in states for step in self._steps(state)]
            states = list(dict.fromkeys(step.target for step in layer))
            layers.append(layer)
        return layers

    def _steps(self, state: State) -> list[Transition]:
        replicas = range(1, self.max_replicas + 1)
        if not self.ordered:
            free = [self.devices.count(kind) - taken for kind, taken in zip(self.kinds, state)]
            return [
                Transition(
                    state,
                    kind,
                    r,
                    (*state[:kind], state[kind] + r, *state[kind + 1 :]),
                    not self.all_used or sum(state) + r == self.size,
                )
                for kind, r in itertools.product(range(len(free)), replicas)
                if r <= free[kind] and sum(state) + r <= self.size
            ]
        steps = []
        for number, kind in enumerate(self.kinds):
            for r in replicas:
                runs = range(state[0], len(self.devices) - r + 1)
                first = next((d for d in runs if self.devices[d : d + r] == (kind,) * r), None)
                if first is not None:
                    steps.append(Transition(state, number, r, (first + r,)))
        return steps


@dataclass(frozen=True, slots=True)
class Goal:
    """What is best, in seconds. ``throughput``: the slowest stage counts, then the number of segments, then the sum.

    ``latency``: the sum counts, then the number of segments. ``max_latency`` bounds the sum, ``max_bottleneck`` the
    slowest stage; ``at_least`` and ``at_most`` bound the number of segments. The search may stop once its result is
    proven to be within ``tolerance`` (a fraction) of the best; 0 asks for the optimum itself.
    """

    objective: Objective = "throughput"
    max_latency: float = math.inf
    max_bottleneck: float = math.inf
    at_least: int = 1
    at_most: int | None = None
    tolerance: float = 0.0

    def most(self, fleet: Fleet, pieces: int) -> int:
        """The largest number of segments, of a model of so many pieces that cannot be cut."""
        return min(fleet.size, pieces, pieces if self.at_most is None else self.at_most)
