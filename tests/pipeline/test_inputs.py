"""Random inputs: endless, repeatable, within the ranges of their types, and ready before Ctrl-C may come."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np

from atoll.products.inputs import random_inputs
from builders import branched

_PROGRAM = """
import sys
from atoll.model.graph import Graph
from atoll.products.inputs import random_inputs
random_inputs(Graph((), (), (), ()))
assert "numpy.random" in sys.modules
"""


def test_the_same_seed_gives_the_same_inputs_and_another_seed_others() -> None:
    graph = branched().main
    first, again, other = (list(itertools.islice(random_inputs(graph, seed), 3)) for seed in (1, 1, 2))
    for a, b, c in zip(first, again, other):
        assert all(np.array_equal(a[name], b[name]) for name in a)
        assert any(not np.array_equal(a[name], c[name]) for name in a)


def test_nothing_is_left_to_import_for_the_first_input() -> None:
    """numpy imports its generators at their first use, and a Ctrl-C that comes meanwhile is lost."""
    subprocess.run([sys.executable, "-c", _PROGRAM], check=True)
