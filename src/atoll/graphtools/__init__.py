"""Tools that change graphs: joined, split, cut by operator counts, and made to keep their state."""

from atoll.graphtools.join import join_tflite_models
from atoll.graphtools.partition import partition_with_num_ops
from atoll.graphtools.recurrent import append_recurrent_links
from atoll.graphtools.split import split_fc

__all__ = ["append_recurrent_links", "join_tflite_models", "partition_with_num_ops", "split_fc"]
