"""Stages, bounded queues and a number of items → :class:`Simulation`: a discrete-event run of a pipeline.

Times are whole ticks, hence exact, and nothing is random, hence the pipeline ends up repeating itself. As soon as a
state returns, whole periods are skipped: a million items cost as much as the first few hundred.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from atoll.estimate.pipeline_timing import PipelineStage

TICKS_PER_SLOWEST_STAGE = 4096
"""Default resolution: errors of 0.02 % at most, and stages that differ by less need not fill a queue for ever."""


@dataclass(frozen=True, slots=True)
class StageSpan:
    """What one worker did with one item, for traces. Times in ms since the first item."""

    stage: int
    item: int
    host_begin_ms: float
    device_begin_ms: float
    device_end_ms: float


@dataclass(frozen=True, slots=True)
class Simulation:
    """A run of a pipeline that began empty."""

    items: int
    total_ms: float
    """From the first push to the last result."""
    mean_latency_ms: float
    """From when the pipeline accepts an item to its result."""
    max_latency_ms: float
    device_utilization: tuple[float, ...]
    """Per stage: share of the total time that its devices compute, mean over replicas."""
    host_utilization: float
    spans: tuple[StageSpan, ...]
    """What ran when, for the first items, in order of their end."""

    @property
    def interval_ms(self) -> float:
        """Mean time between results, filling and draining included."""
        return self.total_ms / self.items


def simulate(
    stages: Sequence[PipelineStage],
    items: int,
    *,
    queue_size: int = 2,
    arrival_ms: float = 0.0,
    tick_ms: float | None = None,
    trace_items: int = 0,
) -> Simulation:
    """Push ``items`` through the pipeline and wait for the last.

    A worker takes an item from its queue, has the host for ``host_ms`` (first come, first served, one worker at a
    time), then its device for ``device_ms``, then waits for a place in the next queue; results are always taken.

    Args:
        queue_size: items that fit between two stages, and before the first.
        arrival_ms: an item arrives every so often and waits outside while the first queue is full; 0: as many as
            there is room for.
        tick_ms: resolution; stage times are rounded to it. Default: 1/4096 of the slowest stage.
        trace_items: keep the spans of so many first items.

    Raises:
        ValueError: no stages, no items, no room in the queues, or a negative time.
    """
    if not stages or items < 1 or queue_size < 1 or arrival_ms < 0 or (tick_ms is not None and not tick_ms > 0):
        raise ValueError(f"{len(stages)} stages, {items} items, queues of {queue_size} cannot be simulated")
    slowest = max(arrival_ms, *(stage.device_ms + stage.host_ms for stage in stages))
    tick = tick_ms or slowest / TICKS_PER_SLOWEST_STAGE or 1.0
    run = _PipelineRun(stages, items, queue_size, round(arrival_ms / tick), tick, trace_items)
    run.go()
    total = run.now or 1
    return Simulation(
        items=items,
        total_ms=run.now * tick,
        mean_latency_ms=run.latency_sum / items * tick,
        max_latency_ms=run.latency_max * tick,
        device_utilization=tuple(
            done * busy / stage.replicas / total for done, busy, stage in zip(run.done, run.device, stages)
        ),
        host_utilization=sum(done * busy for done, busy in zip(run.done, run.host)) / total,
        spans=tuple(run.spans),
    )


_HOST, _DEVICE, _ARRIVAL = range(3)


@dataclass(frozen=True, slots=True)
class _RememberedState:
    """Where a remembered state stood."""

    results: int
    time: int
    latency_sum: int
    done: list[int]
    """Items done per stage."""


class _PipelineRun:
    """The state of a run. Items in a queue or at work are known by the time at which they were accepted."""

    def __init__(
        self,
        stages: Sequence[PipelineStage],
        items: int,
        queue_size: int,
        arrival: int,
        tick: float,
        trace: int,
    ) -> None:
        self.count, self.items, self.room, self.arrival, self.tick = (
            len(stages),
            items,
            queue_size,
            arrival,
            tick,
        )
        self.host = [round(stage.host_ms / tick) for stage in stages]
        self.device = [round(stage.device_ms / tick) for stage in stages]
        self.idle = [stage.replicas for stage in stages]
        self.queues: list[deque[tuple[int, int]]] = [deque() for _ in stages]  # (accepted, item)
        self.blocked: list[deque[tuple[int, int]]] = [deque() for _ in stages]
        self.host_waiting: deque[tuple[int, int, int]] = deque()  # (stage, accepted, item)
        self.host_free = True
        self.events: list[tuple[int, int, int, int, int]] = []  # (time, item, kind, stage, accepted)
        self.now = self.latency_sum = self.latency_max = self.accepted = self.arrived = self.lowest = 0
        self.done = [0] * self.count
        self.trace, self.spans, self.began = trace, list[StageSpan](), dict[tuple[int, int], tuple[int, int]]()

    def go(self) -> None:
        """Run to the end, skipping periods (Brent's cycle detection: one state is remembered at a time)."""
        self._arrive()
        remembered, at, limit = None, _RememberedState(0, 0, 0, []), 1
        done, searching = self.done, True
        while done[-1] < self.items:
            results = done[-1]
            self._step()
            if done[-1] == results or done[-1] <= self.trace or not searching:
                continue
            state = self._state()
            if state == remembered and self._repeats(at):
                self._skip(at)
                searching = False
            elif done[-1] - at.results >= limit:
                limit *= 2
                remembered, at = state, _RememberedState(done[-1], self.now, self.latency_sum, list(done))
                self.lowest = self.arrived - self.accepted

    def _step(self) -> None:
        time, item, kind, stage, accepted = heapq.heappop(self.events)
        self.now = time
        if kind == _HOST:
            self.host_free = True
            heapq.heappush(self.events, (time + self.device[stage], item, _DEVICE, stage, accepted))
            if item < self.trace:
                self.began[stage, item] = (time - self.host[stage], time)
            if self.host_waiting:
                self._use_host(*self.host_waiting.popleft())
        elif kind == _DEVICE:
            self._finish(stage, accepted, item)
        else:
            self._arrive()

    def _arrive(self) -> None:
        """Items come from outside: on schedule, or whenever there is room."""
        if self.arrival:
            self.arrived += 1
            if self.arrived < self.items:
                heapq.heappush(self.events, (self.now + self.arrival, self.items, _ARRIVAL, 0, 0))
        else:
            self.arrived = self.items
        self._accept()

    def _accept(self) -> None:
        while self.accepted < self.arrived and len(self.queues[0]) < self.room:
            self.queues[0].append((self.now, self.accepted))
            self.accepted += 1
            self.lowest = min(self.lowest, self.arrived - self.accepted)
            self._begin(0)

    def _begin(self, stage: int) -> None:
        """A worker of the stage takes an item if both are there; that makes room for the stage before."""
        queue = self.queues[stage]
        while self.idle[stage] and queue:
            self.idle[stage] -= 1
            accepted, item = queue.popleft()
            if self.host_free:
                self._use_host(stage, accepted, item)
            else:
                self.host_waiting.append((stage, accepted, item))
            if stage and self.blocked[stage - 1]:
                queue.append(self.blocked[stage - 1].popleft())
                self.idle[stage - 1] += 1
                self._begin(stage - 1)
            elif not stage:
                self._accept()

    def _use_host(self, stage: int, accepted: int, item: int) -> None:
        self.host_free = False
        heapq.heappush(self.events, (self.now + self.host[stage], item, _HOST, stage, accepted))

    def _finish(self, stage: int, accepted: int, item: int) -> None:
        self.done[stage] += 1
        if item < self.trace:
            host_begin, begin = self.began.pop((stage, item))
            times = (host_begin * self.tick, begin * self.tick, self.now * self.tick)
            self.spans.append(StageSpan(stage, item, *times))
        if stage == self.count - 1:
            self.latency_sum += self.now - accepted
            self.latency_max = max(self.latency_max, self.now - accepted)
            self.idle[stage] += 1
        elif len(self.queues[stage + 1]) < self.room:
            self.queues[stage + 1].append((accepted, item))
            self.idle[stage] += 1
            self._begin(stage + 1)
        else:
            self.blocked[stage].append((accepted, item))
            return
        self._begin(stage)

    def _state(self) -> tuple[object, ...]:
        """All that the future depends on, counted from now."""
        now, first = self.now, self.done[-1]
        source = (
            (-1, 0)
            if self._crowded(self.arrived - self.accepted)
            else (self._next_arrival() - now, self.arrived - first)
        )
        return (
            tuple(sorted((t - now, i - first, k, s, a - now) for t, i, k, s, a in self.events if k != _ARRIVAL)),
            source,
            tuple(tuple((a - now, i - first) for a, i in q) for q in (*self.queues, *self.blocked)),
            tuple((s, a - now, i - first) for s, a, i in self.host_waiting),
            self.host_free,
            self.accepted - first,
        )

    def _crowded(self, backlog: int) -> bool:
        """Whether so many items wait outside that arrivals change nothing."""
        return not self.arrival or backlog >= 2

    def _next_arrival(self) -> int:
        return self.arrived * self.arrival

    def _repeats(self, at: _RememberedState) -> bool:
        """Whether the state that came back will do so again: what waits outside must not run out."""
        period = self.done[-1] - at.results
        if not self.arrival or not self._crowded(self.arrived - self.accepted):
            return True
        return self._crowded(self.lowest) and self.now - at.time >= period * self.arrival

    def _skip(self, at: _RememberedState) -> None:
        """Jump over as many whole periods as fit before the source runs dry."""
        period = self.done[-1] - at.results
        crowded = self._crowded(self.arrived - self.accepted)
        times = (self.items - (self.accepted if crowded else self.arrived)) // period
        if times <= 0:
            return
        shift, jump = times * (self.now - at.time), times * period
        self.now += shift
        self.latency_sum += times * (self.latency_sum - at.latency_sum)
        self.done[:] = [n + times * (n - before) for n, before in zip(self.done, at.done)]
        self.accepted += jump
        if self.arrival:
            arrived = self.now // self.arrival + 1 if crowded else self.arrived + jump
            self.arrived = min(self.items, arrived)
        self.events = [(t + shift, i + jump, k, s, a + shift) for t, i, k, s, a in self.events if k != _ARRIVAL]
        heapq.heapify(self.events)
        if self.arrived < self.items:
            heapq.heappush(self.events, (self._next_arrival(), self.items, _ARRIVAL, 0, 0))
        for queue in (*self.queues, *self.blocked):
            moved = [(a + shift, i + jump) for a, i in queue]
            queue.clear()
            queue.extend(moved)
        waiting = [(s, a + shift, i + jump) for s, a, i in self.host_waiting]
        self.host_waiting.clear()
        self.host_waiting.extend(waiting)
