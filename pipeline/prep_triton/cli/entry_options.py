"""The options of an entry (which artifact, served how) and from them, and a file of serving keys, to one request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prep_triton.cli.choices import complete
from prep_triton.cli.flag_names import COMMAND_LINE
from prep_triton.cli.groups import flag_of, given_options, list_flags, spec_from_flags

if TYPE_CHECKING:
    from prep_triton.spec import EntrySpec


@dataclass(frozen=True)
class TextOptions:
    """Text in, answer out: the keys of `TextSpec`."""

    text: Annotated[bool | None, typer.Option(help="Take text: add a tokenizer, a post-processor and an ensemble.")] = (
        None
    )
    long_input: Annotated[
        str | None,
        typer.Option(
            help="What to do with text beyond the longest bucket: {long_inputs}. [truncate]",
            autocompletion=complete("long_inputs"),
        ),
    ] = None
    stride: Annotated[int | None, typer.Option(help="Tokens that two windows share (--long-input stride). [64]")] = None
    max_characters: Annotated[
        int | None, typer.Option(help="Most characters of a text that are read to fill the model. [1000000]")
    ] = None
    normalize: Annotated[
        bool | None, typer.Option(help="Scale embeddings to length 1. [as the checkpoint declares]")
    ] = None
    top_k: Annotated[int | None, typer.Option(help="Number of answers ({tasks_with_top_k}). [5]")] = None
    answers: Annotated[
        str | None,
        typer.Option(
            help="What to answer ({tasks_with_answers}): {answer_forms}. [ranked]",
            autocompletion=complete("answer_forms"),
        ),
    ] = None
    max_answer_tokens: Annotated[
        int | None, typer.Option(help="Longest answer in tokens ({tasks_with_max_answer_tokens}). [30]")
    ] = None
    handle_impossible_answer: Annotated[
        bool | None, typer.Option(help="Let a question have no answer, as in SQuAD 2.0 (question-answering). [no]")
    ] = None
    text_instance_count: Annotated[
        int | None, typer.Option(help="Instances of the tokenizer and of the post-processor. [1]")
    ] = None


@dataclass(frozen=True)
class QueueOptions:
    """Triton's dynamic batcher: the keys of `QueueSpec`."""

    max_queue_delay_us: Annotated[int | None, typer.Option(help="Longest wait for a batch, microseconds. [500]")] = None
    preferred_batch_sizes: Annotated[
        list[int] | None,
        typer.Option("--preferred-batch-size", metavar="<int>", help="Preferred batch size (repeatable)."),
    ] = None
    preserve_ordering: Annotated[bool | None, typer.Option(help="Answer in the order of the requests.")] = None
    priority_levels: Annotated[int | None, typer.Option(help="Levels of request priority; 1 is the highest. [0]")] = (
        None
    )
    default_priority_level: Annotated[int | None, typer.Option(help="Priority level of a request that names none.")] = (
        None
    )


@dataclass(frozen=True)
class ServingOptions:
    """How Triton serves an entry, for any backend: the keys of `ServingSpec`."""

    tier: Annotated[
        int | None, typer.Option(help="Priority among the models of a server: {tiers}; 1 is the highest.")
    ] = None
    max_batch_size: Annotated[
        int | None, typer.Option(help="Largest batch. [onnxruntime: 16, tensorrt: the profile's, openvino: any]")
    ] = None
    length_buckets: Annotated[
        str | None,
        typer.Option(help="Sequence lengths to pad to: 32,64,128. [up to what the checkpoint declares]"),
    ] = None
    padding: Annotated[
        str | None,
        typer.Option(
            help="Length that a text request is padded to: {paddings}. [buckets]", autocompletion=complete("paddings")
        ),
    ] = None
    dynamic_batching: Annotated[bool | None, typer.Option(help="Let Triton batch requests. [yes]")] = None
    queue: QueueOptions = QueueOptions()
    instance_count: Annotated[int | None, typer.Option(help="Instances of the model. [1]")] = None
    instance_kind: Annotated[
        str | None,
        typer.Option(
            help="Where instances run: {instance_kinds}. [tensorrt: gpu, else cpu]",
            autocompletion=complete("instance_kinds"),
        ),
    ] = None
    warmup: Annotated[bool | None, typer.Option(help="Run every length bucket before the model is ready.")] = None
    response_cache: Annotated[bool | None, typer.Option(help="Let Triton cache responses.")] = None


@dataclass(frozen=True)
class BackendOptions:
    """What one backend alone reads: the other keys of `ServingSpec`."""

    parameters: Annotated[
        list[str] | None,
        typer.Option("--parameter", metavar="KEY=VALUE", help="Parameter of the backend (repeatable)."),
    ] = None
    stream_priority: Annotated[
        str | None,
        typer.Option(
            help="CUDA stream priority: {stream_priorities} (tensorrt).", autocompletion=complete("stream_priorities")
        ),
    ] = None
    cuda_graphs: Annotated[bool | None, typer.Option(help="Capture CUDA graphs of every bucket (tensorrt).")] = None
    output_copy_stream: Annotated[
        bool | None, typer.Option(help="Copy outputs on a separate CUDA stream (tensorrt).")
    ] = None
    eager_batching: Annotated[
        bool | None, typer.Option(help="Prepare the next batch while one is running (tensorrt).")
    ] = None
    threads: Annotated[int | None, typer.Option(help="Threads of an instance (onnxruntime, openvino).")] = None
    streams: Annotated[int | None, typer.Option(help="Executions that share the threads (openvino).")] = None
    performance_hint: Annotated[
        str | None,
        typer.Option(
            help="What threads and streams are chosen for: {performance_hints} (openvino).",
            autocompletion=complete("performance_hints"),
        ),
    ] = None
    inter_op_threads: Annotated[
        int | None, typer.Option(help="Branches of the graph that run at once (onnxruntime).")
    ] = None
    graph_level: Annotated[
        int | None, typer.Option(help="Graph optimizer: -1 basic, 1 extended, 2 none (onnxruntime). [all]")
    ] = None


@dataclass(frozen=True)
class EntryOptions:
    """One entry of a repository: the keys of `EntrySpec`."""

    runtime: Annotated[
        str | None,
        typer.Option(
            help="Backend: {runtimes}. [tensorrt where plans were built, else onnxruntime]",
            autocompletion=complete("runtimes"),
        ),
    ] = None
    precision: Annotated[
        str | None,
        typer.Option(
            help="Precision: {precisions}. [that of the plans; else fp32]",
            autocompletion=complete("precisions"),
        ),
    ] = None
    name: Annotated[str | None, typer.Option(help="Name of the entry. [from model and precision]")] = None
    serving_file: Annotated[
        Path | None,
        typer.Option("--serving", metavar="FILE", help="YAML with 'serving:' keys; a flag wins over it."),
    ] = None
    text: TextOptions = TextOptions()
    serving: ServingOptions = ServingOptions()
    backend: BackendOptions = BackendOptions()


def entry_from_flags(options: EntryOptions, runtime: str, precision: str) -> "EntrySpec":
    """Build the request for an entry.

    Args:
        options: The flags.
        runtime: The backend of what was built, where no flag says.
        precision: Its precision, where no flag says; of another backend its own.

    Raises:
        SpecError: The flags, or the file that `serving_file` names, are not a request.
    """
    from prep_triton.spec import EntrySpec

    own = {"tensorrt": "fp16", "onnxruntime": "fp32", "openvino": "fp32"}
    path = options.serving_file
    serving = given_options(options.serving) | given_options(options.backend)
    if options.backend.parameters:
        serving["parameters"] = parse_parameters(options.backend.parameters)
    return spec_from_flags(
        EntrySpec,
        flags=flags_of_entry(options),
        where=f"{path} and {COMMAND_LINE}" if path else COMMAND_LINE,
        runtime=options.runtime or runtime,
        precision=options.precision or (precision if options.runtime in (None, runtime) else own.get(options.runtime)),
        name=options.name,
        serving=merge_serving(path, serving, given_options(options.serving.queue)),
        text=text_from_flags(options.text),
    )


def flags_of_entry(options: EntryOptions) -> dict[str, str]:
    """Return the flag of each key, for messages: beside a file, whose keys keep their names, only those given."""
    serving = options.serving
    groups = (options, options.text, serving, serving.queue, options.backend)
    given = {key for group in groups for key in given_options(group)}
    return {key: flag for key, flag in list_flags([options]).items() if options.serving_file is None or key in given}


def merge_serving(path: Path | None, flags: Mapping[str, Any], queue: Mapping[str, Any]) -> dict[str, Any]:
    """Return serving's values, the flags laid over the file.

    Raises:
        SpecError: The file is missing or no serving choices, or queue flags meet --no-dynamic-batching.
    """
    from prep_triton.errors import SpecError
    from prep_triton.spec import load_serving_file

    merged: dict[str, Any] = {}
    if path is not None:
        merged = dict(load_serving_file(path).values)  # so that a fault of the file names the file alone
    in_file = merged.get("dynamic_batching", {})
    merged |= flags
    if flags.get("dynamic_batching") is False:
        if queue:
            flag = flag_of(QueueOptions(), next(iter(queue)))
            raise SpecError(f"{flag} means nothing with --no-dynamic-batching", hint="remove one of them")
        merged["dynamic_batching"] = None
    elif in_file is not None or flags.get("dynamic_batching") or queue:
        merged["dynamic_batching"] = {**(in_file or {}), **queue}
    return merged


def text_from_flags(options: TextOptions) -> dict[str, Any] | None:
    """Return the text request: none unless --text was given.

    Raises:
        SpecError: A flag of the text entries came without --text.
    """
    from prep_triton.errors import SpecError

    choices = given_options(options)
    choices.pop("text", None)
    if options.text:
        # --instance-count is the model's.
        return {key.removeprefix("text_"): value for key, value in choices.items()}
    if choices:
        flag = flag_of(options, next(iter(choices)))
        raise SpecError(f"{flag} means nothing without --text", hint="add --text, or remove the flag")
    return None


def parse_parameters(pairs: Sequence[str]) -> dict[str, str]:
    """Parse KEY=VALUE pairs.

    Raises:
        SpecError: One has no '=', or a key is given twice.
    """
    from prep_triton.errors import SpecError

    parsed: dict[str, str] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise SpecError(f"--parameter '{pair}' is not KEY=VALUE", hint="for example --parameter execution_mode=1")
        if key in parsed:
            raise SpecError(f"--parameter {key} is given twice", hint="give it once")
        parsed[key] = value
    return parsed
