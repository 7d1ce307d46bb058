"""A network and a seed → int8 weights, their scales and biases, and the range of every tensor.

Weights are drawn as integers. One float pass over a few images sets each layer's scale and bias, channel by channel,
so that its output has a chosen mean and deviation: the statistics of a batch norm, folded. Without this, the signal of
a deep random network fades until every image gives the same answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from atoll.quantization.float_network import Activation, FloatLayer, Network, Statistics
from atoll.quantization.images import REAL_RANGE, as_real, images
from atoll.quantization.kernels import KINDS, Array, activate

Int8 = npt.NDArray[np.int8]

CALIBRATION_IMAGES = 8

# Room in the range of predictions: other images reach further than the few that set it, and saturated classes tie.
# (Room in every tensor would cost ResNets more in resolution than it saves them in saturation.)
_HEADROOM = 1.25

# Deviation before ReLU6, so that some values reach the limit at 6, as they do in trained networks.
_RELU6_GAIN = 2.0

# A channel's scale and shift vary around those of its layer, as a trained batch norm's do.
_SCALE_SPREAD = (0.75, 1.25)
_SHIFT = 0.2
# Below this many samples the variance of a single channel means little: the layer's mean variance is taken instead.
_ENOUGH_SAMPLES = 64
# Least variance of a channel relative to its layer: a channel that hardly varies is not blown up.
_LEAST_VARIANCE = 0.01


@dataclass(frozen=True, slots=True)
class Weights:
    """A layer's weights ``values · scale`` (scale: float32 per output channel) and its bias (float32, real units)."""

    values: Int8
    scale: Array
    bias: Array


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A network with weights, and the (least, greatest) value of every tensor during calibration, by layer name."""

    network: Network
    weights: Mapping[str, Weights]
    ranges: Mapping[str, tuple[float, float]]

    def run(self, inputs: Int8) -> dict[str, Array]:
        """All layers' float32 outputs (N, ...) for int8 images (N, height, width, channels)."""
        known = self.weights
        steps = _evaluate(
            self.network, inputs, lambda layer: known[layer.name].values, lambda layer, *_: known[layer.name]
        )
        return {layer.name: value for layer, value in steps}


def calibrate(network: Network, seed: int) -> Calibrated:
    """Draw the weights and fold the statistics of a pass over ``CALIBRATION_IMAGES`` images into them.

    Equal seeds give equal weights everywhere; scales and biases depend on how the BLAS library at hand rounds.
    """
    generators = {
        layer.name: np.random.default_rng([seed, i]) for i, layer in enumerate(network.layers) if layer.filter
    }
    weights: dict[str, Weights] = {}

    def draw(layer: FloatLayer) -> Int8:
        return _draw(layer, generators[layer.name])

    def fold(layer: FloatLayer, raw: Array, values: Int8) -> Weights:
        weights[layer.name] = _fold(layer, raw, values, generators[layer.name], network.statistics)
        return weights[layer.name]

    inputs = images(network.input.shape[1:], CALIBRATION_IMAGES, seed)
    ranges = {network.input.name: REAL_RANGE}
    for layer, value in _evaluate(network, inputs, draw, fold):
        headroom = _HEADROOM if layer.filter and not layer.activation and not layer.batch_norm else 1.0
        ranges[layer.name] = headroom * float(value.min()), headroom * float(value.max())
    return Calibrated(network, weights, ranges)


def _evaluate(
    network: Network,
    inputs: Int8,
    draw: Callable[[FloatLayer], Int8],
    fold: Callable[[FloatLayer, Array, Int8], Weights],
) -> Iterator[tuple[FloatLayer, Array]]:
    """Run the layers in order; a value is dropped after its last use."""
    values = {network.input: as_real(inputs)}
    uses = Counter(source for layer in network.layers for source in layer.inputs)
    for layer in network.layers:
        sources = [values[source] for source in layer.inputs]
        kind = KINDS[layer.kind]
        if kind.linear is not None:
            integers = draw(layer)
            out = kind.linear(layer, sources[0], integers.astype(np.float32))
            folded = fold(layer, out, integers)
            out *= folded.scale
            out += folded.bias
            activate(layer.activation, out)
        else:
            assert kind.forward is not None
            out = kind.forward(layer, *sources)
        values[layer] = out
        yield layer, out
        for source in layer.inputs:
            uses[source] -= 1
            if uses[source] == 0:
                values.pop(source, None)


def _fold(layer: FloatLayer, raw: Array, values: Int8, rng: np.random.Generator, statistics: Statistics) -> Weights:
    """The scale and bias that give ``raw`` (the product with the integer weights) the layer's deviation and shift."""
    rows = raw.reshape(-1, layer.channels)
    mean = rows.mean(axis=0)
    variance = np.maximum(np.einsum("nc,nc->c", rows, rows) / len(rows) - mean**2, 0)
    average = variance.mean()
    if len(rows) < _ENOUGH_SAMPLES:
        variance = np.full_like(variance, average)
    centring = 1.0 if layer.centred else statistics.centring
    kept = (1 - centring) * mean
    deviation = np.sqrt(np.maximum(variance, _LEAST_VARIANCE * average) + kept**2)
    gain = layer.gain * (_RELU6_GAIN if layer.activation is Activation.RELU6 else 1.0)
    scale = gain * rng.uniform(*_SCALE_SPREAD, layer.channels) / deviation
    offset = statistics.offset if layer.activation else 0.0
    shift = 0.0 if layer.centred else _SHIFT
    bias = gain * rng.normal(offset, shift, layer.channels) - centring * mean * scale
    return Weights(values, scale.astype(np.float32), bias.astype(np.float32))


def _normal_table() -> Int8:
    """The 256 quantiles of a normal distribution, the outermost at ±127."""
    quantiles = np.array([NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)])
    return np.asarray(np.rint(quantiles * (127 / quantiles[-1])), np.int8)


_NORMAL = _normal_table()


def _draw(layer: FloatLayer, rng: np.random.Generator) -> Int8:
    """Normally distributed weights in [-127, 127]: a random byte picks each (ten times as fast as rounding).

    Depthwise filters lean to positive values: filters without a mean keep the grain that rounding adds and drop the
    image, which leaves nothing of it after a dozen layers.
    """
    values: Int8 = np.take(_NORMAL, rng.integers(0, 256, layer.filter, np.uint8))
    if layer.kind == "DEPTHWISE_CONV_2D":
        values >>= 1
        values += 32
    return values
