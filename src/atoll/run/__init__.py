"""Running the segments of a model as a pipeline: bounded, ordered, and never left hanging."""

from atoll.run.pipeline import Pipeline
from atoll.run.stage import StageError
from atoll.run.stats import StageStats
from atoll.run.wiring import Interpreter, TensorSpec

__all__ = ["Interpreter", "Pipeline", "StageError", "StageStats", "TensorSpec"]
