"""A graph and targets → what its segments cost, the best cuts, and the best use of several Edge TPUs."""

from atoll.planning.costs import MemoryLimit, Operators, SegmentCosts
from atoll.planning.cuts import (
    Costs,
    Found,
    best_cuts,
    best_pieces,
    cut_places,
    fewer_devices,
    has_branches,
    host_rate,
    interval,
    latency,
)
from atoll.planning.fleet import FleetCosts
from atoll.planning.sharing import Sharing
from atoll.planning.uses import CLOSE, best_uses
from atoll.planning.why import Move, moves, shifts

__all__ = [
    "CLOSE",
    "Costs",
    "FleetCosts",
    "Found",
    "MemoryLimit",
    "Move",
    "Operators",
    "SegmentCosts",
    "Sharing",
    "best_cuts",
    "best_pieces",
    "best_uses",
    "cut_places",
    "fewer_devices",
    "has_branches",
    "host_rate",
    "interval",
    "latency",
    "moves",
    "shifts",
]
