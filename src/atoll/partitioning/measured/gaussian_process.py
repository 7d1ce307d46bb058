"""Modelled costs and some measured ones → what the other segments are expected to cost, and how sure that is.

The model is taken to be wrong by a factor of its own for every operator, by a factor common to all, and by a little
for every segment (what does not add up: transfers, spilling). With normal distributions for these errors a measured
segment tells about every segment that shares operators with it (Gaussian process regression; the covariance of two
segments is that of their common operators). Nothing is fitted: the three widths are the assumptions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from atoll.partitioning.search.edges import Floats, Ints

COMMON = 0.25
"""Standard deviation of the factor common to all operators: clocks and hosts differ (``../shared/facts/timing.md``:
one source against another for the same network on the same kind of host scatters by 4.9 to 15 %)."""
SEGMENT = 0.02
"""Standard deviation of a segment's own error: measuring, transfers."""


class SegmentPosterior:
    """About all segments between ``positions``; ``spread`` is the factor by which an operator's cost may be off."""

    def __init__(
        self,
        positions: Sequence[int],
        model: Callable[[int, int], float],
        operators: Sequence[float],
        spread: float,
    ) -> None:
        """``operators``: modelled seconds of each operator by itself, to share out a segment's error."""
        self.at: Ints = np.asarray(positions, dtype=np.intp)
        self.spread = spread
        """As given, or the largest factor by which the model was wrong about a measured segment, if that is larger."""
        squares = np.concatenate([[0.0], np.cumsum(np.square(np.asarray(operators, dtype=np.float64)))])
        self._squares = squares[self.at]
        self._model = model
        self._modelled: dict[tuple[int, int], float] = {}
        self._segments: list[tuple[int, int]] = []
        self._seconds: list[float] = []
        self._inverse: Floats = np.zeros((0, 0))
        self._weights: Floats = np.zeros(0)

    def modelled(self, tail: int, head: int) -> float:
        """The model's seconds for a segment, by node numbers; inf when it rules the segment out."""
        if (tail, head) not in self._modelled:
            self._modelled[tail, head] = self._model(int(self.at[tail]), int(self.at[head]))
        return self._modelled[tail, head]

    @property
    def _single(self) -> float:
        """Factors spread evenly between 1 / spread and spread have about this standard deviation."""
        return (self.spread - 1 / self.spread) / math.sqrt(12)

    def learn(self, tail: int, head: int, seconds: float) -> None:
        """Take in one measurement; one that contradicts the spread widens it."""
        factor = seconds / self.modelled(tail, head) if seconds > 0 < self.modelled(tail, head) else 1.0
        self.spread = max(self.spread, factor, 1 / factor)
        self._segments.append((tail, head))
        self._seconds.append(seconds)
        tails, heads = np.array(self._segments).T
        modelled = np.array([self.modelled(*segment) for segment in self._segments])
        covariance = self._shared(tails, heads, modelled) + np.diag(np.square(SEGMENT * modelled))
        self._inverse = np.linalg.inv(np.linalg.cholesky(covariance))
        self._weights = self._inverse.T @ (self._inverse @ (np.array(self._seconds) - modelled))

    def _shared(self, tails: Ints, heads: Ints, modelled: Floats) -> Floats:
        """Covariance of the given segments with the measured ones, (segments, measurements)."""
        known_tails, known_heads = np.array(self._segments).T
        known = np.array([self.modelled(*segment) for segment in self._segments])
        first = np.maximum(tails[:, None], known_tails)
        last = np.maximum(np.minimum(heads[:, None], known_heads), first)
        overlap = self._squares[last] - self._squares[first]
        shared: Floats = COMMON**2 * modelled[:, None] * known + self._single**2 * overlap
        return shared

    def predict(self, tail: int, heads: Ints, modelled: Floats) -> tuple[Floats, Floats]:
        """Expected seconds and standard deviation of the segments from ``tail`` to each of ``heads``."""
        own = self._squares[heads] - self._squares[tail]
        variance = np.square(COMMON * modelled) + self._single**2 * own + np.square(SEGMENT * modelled)
        if not self._segments:
            return modelled, np.sqrt(variance)
        shared = self._shared(np.full(len(heads), tail), heads, modelled)
        explained = np.square(shared @ self._inverse.T).sum(axis=1)
        expected = modelled + shared @ self._weights
        return expected, np.sqrt(np.maximum(variance - explained, np.square(SEGMENT * modelled)))
