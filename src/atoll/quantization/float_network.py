"""Calls that declare layers → a network: named float layers with their shapes, parameters and multiply-accumulates."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from atoll.model.graph import EMPTY


class Padding(enum.IntEnum):
    """Code of the TFLite schema's ``Padding``."""

    SAME = 0
    VALID = 1


class Activation(enum.IntEnum):
    """Code of the TFLite schema's ``ActivationFunctionType``."""

    NONE = 0
    RELU = 1
    RELU6 = 3


_UNDILATED = {"dilation_w_factor": 1, "dilation_h_factor": 1}


@dataclass(frozen=True, slots=True, eq=False)
class FloatLayer:
    """One operator and its output (float32, NHWC, batch 1); also the handle later layers take as their input.

    ``filter`` is the shape of the weights as TFLite stores them (OHWI, 1HWO, OI), empty for a layer without;
    ``constant`` is the int32 operand of operators that have one (paddings, axes, shape, size); ``factor`` is the real
    number that a MUL multiplies with;
    ``gain`` is the standard deviation that calibration gives the output before its activation; the mean of a
    ``centred`` layer is removed whole, so that what is left is what tells one image from another.
    """

    name: str
    kind: str
    inputs: tuple[FloatLayer, ...]
    shape: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    filter: tuple[int, ...] = ()
    constant: npt.NDArray[np.int32] | None = None
    batch_norm: bool = False
    gain: float = 1.0
    factor: float = 0.0
    centred: bool = False

    @property
    def activation(self) -> Activation:
        """The fused activation function."""
        return Activation(self.options.get("fused_activation_function", Activation.NONE))

    @property
    def channels(self) -> int:
        """Size of the innermost dimension."""
        return self.shape[-1]

    @property
    def parameters(self) -> int:
        """Weights and biases, with batch norm folded into them."""
        return math.prod(self.filter) + self.channels if self.filter else 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates with a weight, as papers count them (biases, pooling and sums are left out)."""
        return math.prod(self.shape) * math.prod(self.filter) // self.channels if self.filter else 0

    @property
    def output_name(self) -> str:
        """Name of the output tensor: the layer and what was folded into it, as in ``block_3/conv2/bn_relu``."""
        if not self.filter:
            return self.name
        folded = "bn" if self.batch_norm else "bias_add"
        return f"{self.name}/{folded}" + (f"_{self.activation.name.lower()}" if self.activation else "")


def extent(size: int, kernel: int, stride: int, padding: Padding) -> tuple[int, int, int]:
    """One spatial dimension of a convolution or pooling: output size, zeros before, zeros after."""
    if padding is Padding.VALID:
        return (size - kernel) // stride + 1, 0, 0
    out = -(-size // stride)
    total = max((out - 1) * stride + kernel - size, 0)
    return out, total // 2, total - total // 2


@dataclass(frozen=True, slots=True)
class Statistics:
    """What calibration makes of a channel's mean.

    ``centring`` is the part of it that is removed; ``offset``, in deviations, is added before an activation function.
    """

    centring: float
    offset: float = 0.0


CLASSIFYING = Statistics(0.2)
"""All of the mean removed (batch norm at initialisation) makes a deep ReLU network chaotic: rounding errors grow by
20 % per layer. None of it makes all images look alike in the end. With a fifth, the int8 logits of every network here
follow the float ones (correlation over 0.9) and vary by ten steps and more."""

EMBEDDING = Statistics(1.0, 1.0)
"""Five values of six are in the straight part of ReLU6: pictures that look alike keep embeddings that do. Imprinted on
five drawn pictures of each of five classes, six networks with two seeds recognise 94 % of others (docs/learning.md);
with the statistics above it was 84 %."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """How calibration draws a layer's random weights; see :class:`FloatLayer`."""

    batch_norm: bool = True
    gain: float = 1.0
    centred: bool = False


class Network:
    """An architecture being declared; layers are kept in execution order under unique names."""

    def __init__(self, name: str, input_shape: tuple[int, int, int]) -> None:
        self.name = name
        self.input = FloatLayer("input", "INPUT", (), (1, *input_shape))
        self.layers: list[FloatLayer] = []
        self.outputs: dict[str, FloatLayer] = {}
        self.statistics = CLASSIFYING
        self._names = {"input"}

    @property
    def parameters(self) -> int:
        """Weights and biases of the folded network, as the file stores them."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.macs for layer in self.layers)

    def up_to(self, last: str, name: str) -> Network:
        """A new network of the layers up to ``last``, without outputs yet."""
        net = Network(name, self.input.shape[1:])  # type: ignore[arg-type]
        net.input = self.input
        end = [layer.name for layer in self.layers].index(last) + 1
        net.layers = self.layers[:end]
        net._names.update(layer.name for layer in net.layers)
        return net

    def conv(
        self,
        x: FloatLayer,
        name: str,
        channels: int,
        kernel: int | tuple[int, int] = 1,
        stride: int = 1,
        activation: Activation = Activation.NONE,
        padding: Padding = Padding.SAME,
    ) -> FloatLayer:
        """Convolution, then batch norm, then activation; ``kernel`` is one size, or height and width."""
        kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
        shape = (*_window(x, (kh, kw), stride, padding), channels)
        options = _window_options(stride, padding, activation, **_UNDILATED)
        filter_ = (channels, kh, kw, x.channels)
        return self._append(FloatLayer(name, "CONV_2D", (x,), shape, options, filter_, batch_norm=True))

    def conv_drawn(
        self,
        drawn: Drawn,
        x: FloatLayer,
        name: str,
        channels: int,
        kernel: int = 1,
        activation: Activation = Activation.NONE,
    ) -> FloatLayer:
        """Convolution (SAME, stride 1) whose weights are drawn in a way of their own, then activation."""
        options = _window_options(1, Padding.SAME, activation, **_UNDILATED)
        filter_ = (channels, kernel, kernel, x.channels)
        layer = FloatLayer(name, "CONV_2D", (x,), (*x.shape[:3], channels), options, filter_)
        return self._append(replace(layer, batch_norm=drawn.batch_norm, gain=drawn.gain, centred=drawn.centred))

    def depthwise(
        self, x: FloatLayer, name: str, kernel: int = 3, stride: int = 1, activation: Activation = Activation.NONE
    ) -> FloatLayer:
        """Depthwise convolution (SAME, multiplier 1), batch norm, activation."""
        shape = (*_window(x, (kernel, kernel), stride, Padding.SAME), x.channels)
        options = _window_options(stride, Padding.SAME, activation, depth_multiplier=1, **_UNDILATED)
        filter_ = (1, kernel, kernel, x.channels)
        return self._append(FloatLayer(name, "DEPTHWISE_CONV_2D", (x,), shape, options, filter_, batch_norm=True))

    def dense(self, x: FloatLayer, name: str, units: int, gain: float = 1.0) -> FloatLayer:
        """Fully connected layer with bias over a (1, features) input."""
        options = {
            "fused_activation_function": int(Activation.NONE),
            "weights_format": 0,
            "keep_num_dims": False,
            "asymmetric_quantize_inputs": False,
        }
        filter_ = (units, x.channels)
        return self._append(FloatLayer(name, "FULLY_CONNECTED", (x,), (1, units), options, filter_, gain=gain))

    def add(self, a: FloatLayer, b: FloatLayer, name: str, activation: Activation = Activation.NONE) -> FloatLayer:
        """Sum of two tensors of one shape."""
        assert a.shape == b.shape, f"{name}: {a.shape} + {b.shape}"
        options = {"fused_activation_function": int(activation), "pot_scale_int16": True}
        return self._append(FloatLayer(name, "ADD", (a, b), a.shape, options))

    def concat(self, parts: Sequence[FloatLayer], name: str, axis: int = 3) -> FloatLayer:
        """Concatenation along ``axis`` (counted with the batch)."""
        shape = list(parts[0].shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        options = {"axis": axis, "fused_activation_function": int(Activation.NONE)}
        return self._append(FloatLayer(name, "CONCATENATION", tuple(parts), tuple(shape), options))

    def pad(self, x: FloatLayer, name: str, before: int, after: int) -> FloatLayer:
        """Zeros around the two spatial dimensions."""
        _, h, w, c = x.shape
        paddings = np.array([[0, 0], [before, after], [before, after], [0, 0]], np.int32)
        shape = (1, h + before + after, w + before + after, c)
        return self._append(FloatLayer(name, "PAD", (x,), shape, constant=paddings))

    def max_pool(
        self, x: FloatLayer, name: str, kernel: int, stride: int, padding: Padding = Padding.VALID
    ) -> FloatLayer:
        """Maximum over windows."""
        return self._pool("MAX_POOL_2D", x, name, kernel, stride, padding)

    def average_pool(
        self, x: FloatLayer, name: str, kernel: int, stride: int, padding: Padding = Padding.VALID
    ) -> FloatLayer:
        """Mean over windows; padding is not counted."""
        return self._pool("AVERAGE_POOL_2D", x, name, kernel, stride, padding)

    def mean(self, x: FloatLayer, name: str, keep_dims: bool = False) -> FloatLayer:
        """Global average pooling, to (1, channels) or (1, 1, 1, channels)."""
        shape = (1, 1, 1, x.channels) if keep_dims else (1, x.channels)
        axes = np.array([1, 2], np.int32)
        return self._append(FloatLayer(name, "MEAN", (x,), shape, {"keep_dims": keep_dims}, constant=axes))

    def reshape(self, x: FloatLayer, name: str, shape: tuple[int, ...]) -> FloatLayer:
        """The same elements in another shape."""
        options = {"new_shape": np.array(shape, np.int32)}
        return self._append(FloatLayer(name, "RESHAPE", (x,), shape, options, constant=np.array(shape, np.int32)))

    def upsample(self, x: FloatLayer, name: str, factor: int = 2) -> FloatLayer:
        """Nearest-neighbour upsampling, as Keras' ``UpSampling2D`` converts."""
        _, h, w, c = x.shape
        size = np.array([h * factor, w * factor], np.int32)
        options = {"align_corners": False, "half_pixel_centers": True}
        shape = (1, h * factor, w * factor, c)
        return self._append(FloatLayer(name, "RESIZE_NEAREST_NEIGHBOR", (x,), shape, options, constant=size))

    def softmax(self, x: FloatLayer, name: str) -> FloatLayer:
        """Softmax over the innermost dimension."""
        return self._append(FloatLayer(name, "SOFTMAX", (x,), x.shape, {"beta": 1.0}))

    def logistic(self, x: FloatLayer, name: str) -> FloatLayer:
        """Sigmoid of every element."""
        return self._append(FloatLayer(name, "LOGISTIC", (x,), x.shape))

    def l2_normalization(self, x: FloatLayer, name: str) -> FloatLayer:
        """The vector of unit length along the innermost dimension."""
        return self._append(
            FloatLayer(name, "L2_NORMALIZATION", (x,), x.shape, {"fused_activation_function": int(Activation.NONE)})
        )

    def scale(self, x: FloatLayer, name: str, factor: float) -> FloatLayer:
        """Every element times the positive number ``factor``."""
        options = {"fused_activation_function": int(Activation.NONE)}
        return self._append(FloatLayer(name, "MUL", (x,), x.shape, options, factor=factor))

    def _pool(self, kind: str, x: FloatLayer, name: str, kernel: int, stride: int, padding: Padding) -> FloatLayer:
        shape = (*_window(x, (kernel, kernel), stride, padding), x.channels)
        size = {"filter_width": kernel, "filter_height": kernel}
        return self._append(
            FloatLayer(name, kind, (x,), shape, _window_options(stride, padding, Activation.NONE, **size))
        )

    def _append(self, layer: FloatLayer) -> FloatLayer:
        assert layer.name not in self._names, f"two layers of {self.name} are called {layer.name}"
        self._names.add(layer.name)
        self.layers.append(layer)
        return layer


def _window(x: FloatLayer, kernel: tuple[int, int], stride: int, padding: Padding) -> tuple[int, int, int]:
    """Batch, height and width after a sliding window."""
    _, h, w, _ = x.shape
    return 1, extent(h, kernel[0], stride, padding)[0], extent(w, kernel[1], stride, padding)[0]


def _window_options(stride: int, padding: Padding, activation: Activation, **more: int) -> Mapping[str, int]:
    """The fields that convolutions and pooling have in common, and ``more``."""
    common = {"padding": int(padding), "stride_w": stride, "stride_h": stride}
    return {**common, "fused_activation_function": int(activation), **more}
