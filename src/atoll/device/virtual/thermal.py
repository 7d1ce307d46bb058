"""How long a chip worked and rested → its temperature, and how far its clock is throttled."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

TRIP_POINTS_C = (84.8, 89.8, 94.8)
"""../shared/facts/hardware.md: the clock goes down to 250, 125, 62.5 MHz (older drivers: 85, 90, 95)."""


@dataclass(frozen=True, slots=True)
class Cooling:
    """Where a chip sits. The temperatures and the time constant are assumptions, not measurements: give your own.

    A chip that works all the time ends at ``ambient_c + busy_rise_c``, an idle one at ``ambient_c + idle_rise_c``;
    ``time_constant_s`` is the time for 63 % of the way.
    """

    ambient_c: float = 25.0
    idle_rise_c: float = 10.0
    busy_rise_c: float = 35.0
    time_constant_s: float = 60.0
    trip_points_c: tuple[float, ...] = TRIP_POINTS_C
    poll_interval_s: float = 5.0
    """How often the driver looks; 0: never, so that the clock is not throttled."""


@dataclass(slots=True)
class Thermometer:
    """Temperature of one chip over (modelled) time."""

    cooling: Cooling
    temperature_c: float = field(init=False)
    halvings: int = 0
    """Trip points reached when the driver last looked."""
    _unpolled_s: float = field(default=math.inf, init=False)

    def __post_init__(self) -> None:
        self.temperature_c = self.cooling.ambient_c + self.cooling.idle_rise_c

    def advance(self, seconds: float, busy: bool) -> None:
        """Let ``seconds`` of work or rest pass."""
        cooling = self.cooling
        target = cooling.ambient_c + (cooling.busy_rise_c / 2**self.halvings if busy else cooling.idle_rise_c)
        left = math.exp(-max(seconds, 0.0) / cooling.time_constant_s)
        self.temperature_c = target + (self.temperature_c - target) * left
        self._unpolled_s += max(seconds, 0.0)
        if cooling.poll_interval_s and self._unpolled_s >= cooling.poll_interval_s:
            self._unpolled_s = 0.0
            self.halvings = sum(self.temperature_c >= trip for trip in cooling.trip_points_c)
