"""``pycoral.learn.backprop.softmax_regression``."""

from atoll.learn import SoftmaxRegression

__all__ = ["SoftmaxRegression"]
