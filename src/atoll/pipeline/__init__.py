"""Running the segments of a model as a pipeline: bounded, ordered, and never left hanging."""

from atoll.pipeline.monitoring.bottleneck import Bottleneck
from atoll.pipeline.monitoring.trace import Trace
from atoll.pipeline.pipeline import Pipeline
from atoll.pipeline.pool import Allocator, Pool
from atoll.pipeline.recovery import StallError
from atoll.pipeline.threads.item import StageError
from atoll.pipeline.wiring import InterpreterLike
from atoll.products.stage_stats import StageStats
from atoll.products.tensor_spec import TensorSpec

__all__ = [
    "Allocator",
    "Bottleneck",
    "InterpreterLike",
    "Pipeline",
    "Pool",
    "StageError",
    "StageStats",
    "StallError",
    "TensorSpec",
    "Trace",
]
