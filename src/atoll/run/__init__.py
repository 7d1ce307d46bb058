"""Running the segments of a model as a pipeline: bounded, ordered, and never left hanging."""

from atoll.run.insight import Bottleneck
from atoll.run.pipeline import Pipeline
from atoll.run.pool import Allocator, Pool
from atoll.run.recovery import StallError
from atoll.run.stage import StageError
from atoll.run.stats import StageStats
from atoll.run.trace import Trace
from atoll.run.wiring import Interpreter, TensorSpec

__all__ = [
    "Allocator",
    "Bottleneck",
    "Interpreter",
    "Pipeline",
    "Pool",
    "StageError",
    "StageStats",
    "StallError",
    "TensorSpec",
    "Trace",
]
