"""``atoll graph``: the vendor's graph tools, under their names and flags."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from atoll.cli.options import OUTPUT_DIRECTORY, OUTPUT_FILE, FiniteFloat

if TYPE_CHECKING:
    from atoll.model.graph import Model

_F = TypeVar("_F", bound=Callable[..., Any])


@click.group("graph")
def command() -> None:
    """Change the graph of a model: join, split, cut, make it recurrent.

    Commands and flags are those of the vendor's tools; models may be compiled or not.
    """


class Names(click.ParamType):  # type: ignore[type-arg]
    """A list with commas between its items."""

    name = "LIST"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:  # noqa: ARG002
        """The items, without blanks around them."""
        return tuple(item.strip() for item in value.split(",") if item.strip()) if isinstance(value, str) else value


class Numbers(Names):
    """A list of whole numbers with commas between them."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
        """The numbers; a usage error for what is none."""
        items = super().convert(value, param, ctx)
        if not isinstance(value, str) or not isinstance(items, tuple):
            return items
        try:
            return tuple(int(item) for item in items)
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers", param, ctx)


def _file(name: str, text: str, required: bool = True) -> Callable[[_F], _F]:
    kind = OUTPUT_FILE if name.startswith("--output") else None
    return click.option(name, metavar="FILE", required=required, type=kind, help=text)


@command.command("append_recurrent_links")
@_file("--input_graph", "The model.")
@_file("--output_graph", "Where to write the new model.")
@click.option("--input_tensor_names", type=Names(), required=True, help="Inputs that take the state: a,b")
@click.option("--output_tensor_names", type=Names(), required=True, help="Outputs that give the next state: c,d")
def append_recurrent_links(
    input_graph: str, output_graph: str, input_tensor_names: Sequence[str], output_tensor_names: Sequence[str]
) -> None:
    """Keep the state inside the model: each named output feeds the input named in the same place."""
    from atoll.model import graph_tools

    links = graph_tools.recurrent_links(input_tensor_names, output_tensor_names)
    _write(graph_tools.append_recurrent_links(_read(input_graph), links), output_graph)


@command.command("join_tflite_models")
@_file("--input_graph_base", "The model that runs first.")
@_file("--input_graph_head", "The model that takes the base's outputs.")
@_file("--output_graph", "Where to write the joined model.")
@click.option("--bypass_output_tensors", type=Names(), default=(), help="Base outputs to give out as well: a,b")
def join_tflite_models(
    input_graph_base: str, input_graph_head: str, output_graph: str, bypass_output_tensors: Sequence[str]
) -> None:
    """Join two models into one: outputs of the base feed the inputs of the head that have their names."""
    from atoll.model import graph_tools

    base, head = _read(input_graph_base), _read(input_graph_head)
    _write(graph_tools.join_tflite_models(base, head, bypass_output_tensors), output_graph)


@command.command("split_fc")
@_file("--input_graph", "The model.")
@_file("--output_graph", "Where to write the new model.")
@click.option("--fc_output_tensor_name", metavar="NAME", help="The layer's output.  [default: the largest layer's]")
@click.option("--fc_input_tensor_name", metavar="NAME", help="The layer's input; checked when given.")
@click.option("--fc_weights_tensor_name", metavar="NAME", help="The layer's weights; checked when given.")
@click.option("--fc_bias_tensor_name", metavar="NAME", help="The layer's bias; checked when given.")
@click.option("--feature_dim_index", default=0, help="Which dimension of the output counts its features; checked.")
@click.option(
    "--split_ratio",
    default=0.5,
    show_default=True,
    type=FiniteFloat(),
    help="Share of the outputs (inputs) in the first part.",
)
@click.option(
    "--split_over",
    default="outputs",
    show_default=True,
    type=click.Choice(["outputs", "inputs"]),
    help="Concatenate parts of the outputs, or add what parts of the inputs give.",
)
@click.option(
    "--max_steps",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="With inputs: the most quantisation steps by which a result may differ.",
)
def split_fc(
    input_graph: str,
    output_graph: str,
    fc_output_tensor_name: str | None,
    fc_input_tensor_name: str | None,
    fc_weights_tensor_name: str | None,
    fc_bias_tensor_name: str | None,
    feature_dim_index: int,
    split_ratio: float,
    split_over: Literal["outputs", "inputs"],
    max_steps: int,
) -> None:
    """Split a fully connected layer in two.

    Outputs are concatenated and stay the same. Inputs are added: the results are the same but for --max_steps steps of
    quantisation, or the layer is refused.
    """
    from atoll.model import graph_tools

    model = _read(input_graph)
    operands = (fc_input_tensor_name, fc_weights_tensor_name, fc_bias_tensor_name)
    layer = graph_tools.named_layer(model, fc_output_tensor_name, operands, feature_dim_index)
    _write(graph_tools.split_fc(model, layer, (split_ratio,), split_over, max_steps), output_graph)


@command.command("partition_with_num_ops")
@_file("--model_path", "The model.")
@click.option("--output_dir", metavar="DIR", type=OUTPUT_DIRECTORY, required=True, help="Where to write the segments.")
@click.option("--segment_prefix", default="tmp", show_default=True, help="What their names begin with.")
@click.option("--num_ops", type=Numbers(), required=True, help="Operators of each segment: 10,20,30")
def partition_with_num_ops(model_path: str, output_dir: str, segment_prefix: str, num_ops: Sequence[int]) -> None:
    """Cut a model into segments of the given numbers of operators."""
    from atoll.model import graph_tools

    segments = graph_tools.partition_with_num_ops(_read(model_path), num_ops)
    for path in graph_tools.write_segments(segments, output_dir, segment_prefix):
        click.echo(path)


def _read(path: str) -> Model:
    from atoll.model.tflite import read_model

    return read_model(path)


def _write(model: Model, path: str) -> None:
    from atoll.model.tflite import write_model

    write_model(model, path)
    click.echo(path)
