"""Tools that change graphs: joined, split, cut by operator counts, and made to keep their state."""

from atoll.model.graph_tools.join import join_tflite_models
from atoll.model.graph_tools.named_layer import named_layer
from atoll.model.graph_tools.partition_by_operators import partition_with_num_ops, write_segments
from atoll.model.graph_tools.recurrent import append_recurrent_links, recurrent_links
from atoll.model.graph_tools.split import split_fc

__all__ = [
    "append_recurrent_links",
    "join_tflite_models",
    "named_layer",
    "partition_with_num_ops",
    "recurrent_links",
    "split_fc",
    "write_segments",
]
