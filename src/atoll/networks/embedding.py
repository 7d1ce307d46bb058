"""A classifier → the extractor of its embedding, alone or with last layers that weight imprinting can train."""

from __future__ import annotations

from atoll.quantization.float_network import EMBEDDING, Drawn, FloatLayer, Network

POOL = "global_average_pool"
"""The layer whose output is the embedding, in every classifier that has an extractor here."""

_FACTOR = 16.0
"""What cosines are multiplied with: those of embeddings differ by tenths, a softmax tells whole numbers apart."""

_DIM = 256


def _up_to_pool(classifier: Network, name: str) -> Network:
    net = classifier.up_to(POOL, name)
    net.statistics = EMBEDDING
    return net


def extractor(classifier: Network, name: str) -> Network:
    """The classifier up to its embedding: (1, 1, 1, x) or (1, x)."""
    net = _up_to_pool(classifier, name)
    net.outputs["embedding"] = net.layers[-1]
    return net


def imprintable(classifier: Network, name: str, classes: int = 1000) -> Network:
    """The classifier with the vendor's last layers for imprinting: L2 norm, convolution, product, reshape, softmax."""
    net = _up_to_pool(classifier, name)
    x: FloatLayer = net.layers[-1]
    if len(x.shape) == 2:
        x = net.reshape(x, "expand", (1, 1, 1, x.channels))
    # Embeddings of ReLU networks point one way, and 2048 numbers of one unit vector have three steps of 1/128 each:
    # a centred projection (as FaceNet's, arXiv:1503.03832) lets 8 bits tell ResNet's embeddings apart.
    x = net.conv_drawn(Drawn(batch_norm=False, centred=True), x, "bottleneck", _DIM)
    x = net.l2_normalization(x, "embedding")
    # Together the convolution and the product give logits the deviation that other classifiers here have.
    x = net.conv_drawn(Drawn(batch_norm=False, gain=3 / _FACTOR), x, "cosines", classes)
    x = net.scale(x, "logits", _FACTOR)
    net.outputs["probabilities"] = net.softmax(net.reshape(x, "squeeze", (1, classes)), "probabilities")
    return net
