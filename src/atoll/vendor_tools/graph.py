"""``atoll graph``: the vendor's graph tools, under their names and flags."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from atoll.cli.options import OUTPUT_DIRECTORY, OUTPUT_FILE, FiniteFloat

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
        return tuple(item.strip() for item in value.split(",") if item.strip()) if isinstance(value, str) else value


class Numbers(Names):
    """A list of whole numbers with commas between them."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
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
    from atoll.errors import UsageError
    from atoll.model import graph_tools as graphtools

    if len(input_tensor_names) != len(output_tensor_names):
        raise UsageError(
            f"{len(input_tensor_names)} inputs and {len(output_tensor_names)} outputs are named",
            "Each input needs the output that feeds it.",
        )
    if len(set(input_tensor_names)) < len(input_tensor_names):
        raise UsageError("an input is named twice", "Each input can be fed by one output.")
    links = dict(zip(input_tensor_names, output_tensor_names))
    _convert(input_graph, output_graph, lambda model: graphtools.append_recurrent_links(model, links))


@command.command("join_tflite_models")
@_file("--input_graph_base", "The model that runs first.")
@_file("--input_graph_head", "The model that takes the base's outputs.")
@_file("--output_graph", "Where to write the joined model.")
@click.option("--bypass_output_tensors", type=Names(), default=(), help="Base outputs to give out as well: a,b")
def join_tflite_models(
    input_graph_base: str, input_graph_head: str, output_graph: str, bypass_output_tensors: Sequence[str]
) -> None:
    """Join two models into one: outputs of the base feed the inputs of the head that have their names."""
    from atoll.model import graph_tools as graphtools
    from atoll.model.tflite import read_model

    head = read_model(input_graph_head)
    _convert(
        input_graph_base,
        output_graph,
        lambda base: graphtools.join_tflite_models(base, head, bypass_output_tensors),
    )


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
    from atoll.model import graph_tools as graphtools
    from atoll.model.graph import Model

    expected = (fc_input_tensor_name, fc_weights_tensor_name, fc_bias_tensor_name)

    def split(model: Model) -> Model:
        layer = fc_output_tensor_name or _layer_with(model, expected)
        _check_operands(model, layer, expected)
        _check_feature_dim(model, layer, feature_dim_index)
        return graphtools.split_fc(model, layer, (split_ratio,), split_over, max_steps)

    _convert(input_graph, output_graph, split)


@command.command("partition_with_num_ops")
@_file("--model_path", "The model.")
@click.option("--output_dir", metavar="DIR", type=OUTPUT_DIRECTORY, required=True, help="Where to write the segments.")
@click.option("--segment_prefix", default="tmp", show_default=True, help="What their names begin with.")
@click.option("--num_ops", type=Numbers(), required=True, help="Operators of each segment: 10,20,30")
def partition_with_num_ops(model_path: str, output_dir: str, segment_prefix: str, num_ops: Sequence[int]) -> None:
    """Cut a model into segments of the given numbers of operators."""
    from atoll.files import output_directory
    from atoll.model import graph_tools as graphtools
    from atoll.model.tflite import model_bytes, read_model

    segments = graphtools.partition_with_num_ops(read_model(model_path), num_ops)
    names = [f"{segment_prefix}_segment_{i}_of_{len(segments)}.tflite" for i in range(len(segments))]
    with output_directory(output_dir) as output:
        for name, segment in zip(names, segments):
            output.write(name, model_bytes(segment))
    for name in names:
        click.echo(Path(output_dir) / name)


def _convert(source: str, target: str, change: Callable[[Any], Any]) -> None:
    from atoll.model.tflite import read_model, write_model

    write_model(change(read_model(source)), target)
    click.echo(target)


def _layer_with(model: Any, expected: Sequence[str | None]) -> str | None:
    """The output of the layer that has the operands named, for those who name everything but the output."""
    for operator in model.main.operators:
        names = {tensor.name for tensor in model.main.inputs_of(operator)}
        if any(expected) and names >= {name for name in expected if name}:
            output: str = model.main.tensors[operator.outputs[0]].name
            return output
    return None


def _check_feature_dim(model: Any, layer: str | None, index: int) -> None:
    """The vendor counts dimensions of the output, and begins with 0, which is also that of the weights."""
    from atoll.errors import UsageError

    for tensor in model.main.tensors:
        if index and tensor.name == layer and index != len(tensor.shape) - 1:
            raise UsageError(
                f"--feature_dim_index is {index}, the output '{layer}' is {list(tensor.shape)}",
                "The features of a layer are the last dimension of its output.",
            )


def _check_operands(model: Any, layer: str | None, expected: Sequence[str | None]) -> None:
    from atoll.errors import UsageError

    for operator in model.main.operators:
        if layer in {tensor.name for tensor in model.main.outputs_of(operator)}:
            for position, (name, what) in enumerate(zip(expected, ("input", "weights", "bias"))):
                tensor = model.main.tensor_of(operator, position)
                if name and (tensor is None or tensor.name != name):
                    actual = f"'{tensor.name}'" if tensor else "none"
                    raise UsageError(f"the {what} of '{layer}' is not '{name}'", f"It is {actual}.")
    if layer is None and any(expected):
        raise UsageError("no layer has the tensors named", "Look at their names with: atoll check MODEL")
