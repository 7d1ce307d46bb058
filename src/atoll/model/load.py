"""A file, or a model that is there already → the model as every stage takes it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from atoll.model.graph import Model
from atoll.model.subgraph import with_unique_names
from atoll.model.tflite import read_model

ModelLike: TypeAlias = Model | str | Path
"""A model, or the path of a ``.tflite`` file."""


def load(model: ModelLike) -> Model:
    """The model with a name of its own for every tensor of graph 0.

    Raises as :func:`atoll.model.tflite.read_model`.
    """
    return named(model if isinstance(model, Model) else read_model(model))


def as_it_is(model: ModelLike) -> Model:
    """The model with the names that it has, for what explains files; raises as :func:`load`."""
    return model if isinstance(model, Model) else read_model(model)


def named(model: Model) -> Model:
    """The model with a name of its own for every tensor of graph 0: segments pass tensors on by name."""
    return replace(model, graphs=(with_unique_names(model.main), *model.graphs[1:]))
