"""Numbers on the chart of ``atoll plan`` are as people write them."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from atoll.reporting.plan_report import _rate


@given(st.floats(1e-3, 1e7))
def test_rates_have_three_figures_and_no_exponent(value: float) -> None:
    text = _rate(value)
    assert "e" not in text
    assert math.isclose(float(text), value, rel_tol=0.006)
