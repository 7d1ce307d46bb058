"""One diagnosis of a model: the rule that spoke, where, why, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """A degraded result, never an exception: the model still compiles, but less of it runs on the chip."""

    rule: str
    """Name of the rule, stable across versions (for ``--json`` and for tests)."""
    where: str
    """The operator or tensor, as a person would look it up: ``#12 CONV_2D 'block_3/conv'``."""
    why: str
    """The value that broke the rule."""
    remedy: str
    """What the owner of the model can do."""
    status: str = ""
    """The vendor compiler's status string for this reason."""
    follows: str = ""
    """The operator, as in ``where``, that this one only suffers from: what helps that one helps both."""
