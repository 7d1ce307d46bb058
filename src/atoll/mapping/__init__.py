"""A graph and its support → the regions that go to the Edge TPU."""

from atoll.mapping.mapping import Mapping, map_operators
from atoll.mapping.partition import Step, partition

__all__ = ["Mapping", "Step", "map_operators", "partition"]
