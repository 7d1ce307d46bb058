"""Learning on the device: embeddings come from an Edge TPU, the last layer is trained on the host."""

from atoll.learn.curve import CurvePoint, LearningCurve
from atoll.learn.dataset import Example, ImageFolder, held_out, read_folder
from atoll.learn.embed import Pipelined, in_parallel
from atoll.learn.errors import ModelFileError, TrainingError, UntrainableModelError
from atoll.learn.evaluate import Evaluation, evaluate
from atoll.learn.extractor import with_imprinting_tail
from atoll.learn.imprinting import ImprintingEngine
from atoll.learn.softmax_regression import SoftmaxRegression

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
