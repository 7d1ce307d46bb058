"""Learning on the device: embeddings come from an Edge TPU, the last layer is trained on the host."""

from atoll.errors import ModelFileError, TrainingError, UntrainableModelError
from atoll.learning.curve import CurvePoint, LearningCurve
from atoll.learning.dataset import Example, ImageFolder, held_out, read_folder
from atoll.learning.embed import Pipelined, in_parallel
from atoll.learning.evaluate import Evaluation, evaluate
from atoll.learning.extractor import with_imprinting_tail
from atoll.learning.imprinting import ImprintingEngine
from atoll.learning.softmax_regression import SoftmaxRegression

__all__ = [
    "CurvePoint",
    "Evaluation",
    "Example",
    "ImageFolder",
    "ImprintingEngine",
    "LearningCurve",
    "ModelFileError",
    "Pipelined",
    "SoftmaxRegression",
    "TrainingError",
    "UntrainableModelError",
    "evaluate",
    "held_out",
    "in_parallel",
    "read_folder",
    "with_imprinting_tail",
]
