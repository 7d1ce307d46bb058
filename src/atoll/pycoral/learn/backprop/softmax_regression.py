"""``pycoral.learn.backprop.softmax_regression``."""

from atoll.learning import SoftmaxRegression

__all__ = ["SoftmaxRegression"]
