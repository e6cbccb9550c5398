"""The tokenizer, post-processor and ensemble of a model entry, against the model entry that they serve."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from prep_triton.artifact import RepositoryEntry, Truncation
from prep_triton.layout import MANIFEST_NAME
from prep_triton.spec import Padding, parse_sizes
from prep_triton.spec.server_rules import find_bucket_order_problem
from prep_triton.tasks import PROMPT_NAME, TASKS
from prep_triton.triton.config.rules import find_bucket_problem
from prep_triton.triton.lint.entry import EntryFolder
from prep_triton.triton.lint.finding import Finding
from prep_triton.triton.lint.tensors import WILDCARD, data_type_name
from prep_triton.triton.lint.tree import is_readable_file

_BUCKETS = "length_buckets"
_LIMIT = "max_characters"
_ROWS = "max_rows"
# The parameters that are one of a few words.
_CHOICES: Mapping[str, tuple[str, ...]] = {"padding": get_args(Padding), "truncation": get_args(Truncation)}
_PROMPTS = "prompts"


def find_text_problems(entry: EntryFolder, entries: Mapping[str, EntryFolder]) -> Iterator[Finding]:
    """Find how a part contradicts the entry that it serves; its manifest names that.

    Args:
        entry: An entry whose configuration parses.
        entries: Every entry of the repository by name.
    """
    manifest = entry.manifest
    if manifest is None or manifest.serves is None:
        return
    served = entries.get(manifest.serves)
    model = served.manifest if served is not None else None
    if model is not None and manifest.inputs.get("entry", model.key) != model.key:
        message = f"{entry.name} was made for an earlier {model.name}, which was assembled again without it"
        hint = f"assemble {model.name} again with --text"
        if manifest.kind == "postprocessor" and not TASKS[model.task].has_postprocessor:
            hint = f"remove it, since {model.task} has no post-processor: rm -r {entry.folder}"
        yield entry.on("text-stale", MANIFEST_NAME, message, hint)
    if manifest.kind == "ensemble":
        yield from _find_label_problems(entry, model)
    if manifest.kind == "tokenizer":
        yield from _find_bucket_problems(entry, model)
        yield from _find_limit_problems(entry)
        yield from _find_choice_problems(entry)
        yield from _find_row_problems(entry, served)
        yield from _find_prompt_problems(entry)


def _find_label_problems(entry: EntryFolder, model: RepositoryEntry | None) -> Iterator[Finding]:
    """A front that reads a label file takes the index of the largest value for that of its label.

    So does Dynamo Triton's /v1/classify (ai-dynamo/dynamo, components/src/dynamo/triton/pooling_handlers.py), which
    takes one string input of dims [1] or [-1] and one FP32 output, and refuses every other model when it starts.
    """
    config: Any = entry.config
    labelled = [tensor for tensor in config.output if tensor.label_filename]
    if not labelled:
        return
    path = entry.folder / labelled[0].label_filename
    labels = tuple(path.read_text("utf-8", "replace").splitlines()) if is_readable_file(path) else ()
    if labels and model is not None and model.onnx is not None and labels != model.onnx.labels:
        message = f"{path.name} does not have the labels of {model.name} in their order: answers get other names"
        yield entry.on("text-labels", path.name, message, f"assemble {model.name} again with --text --answers scores")
    if entry.manifest and TASKS[entry.manifest.task].takes_pairs:
        return  # two texts by their nature: no other choice would have that front take it
    texts = [tensor for tensor in config.input if data_type_name(tensor.data_type) == "STRING"]
    scores = [tensor for tensor in config.output if data_type_name(tensor.data_type) == "FP32"]
    if len(texts) != 1 or len(scores) != 1 or list(texts[0].dims) not in ([1], [WILDCARD]):
        message = (
            f"Dynamo's /v1/classify takes one string input of dims [1] or [-1] and one FP32 output, and this has "
            f"{len(texts)} and {len(scores)}{'' if config.max_batch_size else ', without a max_batch_size'}"
        )
        hint = "assemble the model again for onnxruntime or tensorrt with --text --answers scores, for that front alone"
        yield entry.at("front-classify", "output", message, hint)


def _find_bucket_problems(entry: EntryFolder, model: RepositoryEntry | None) -> Iterator[Finding]:
    config: Any = entry.config
    where = f"parameters.{_BUCKETS}"
    # Looking up an absent key of a map would add it.
    text = config.parameters[_BUCKETS].string_value if _BUCKETS in config.parameters else ""
    try:
        buckets = parse_sizes(text)
    except ValueError:
        buckets = ()
    problem = find_bucket_order_problem(buckets) if buckets else "it is not a list of lengths"
    if problem is not None:
        message = f"{_BUCKETS} is '{text}', which the tokenizer cannot use: {problem}"
        yield entry.at(
            "parameter-value", where, message, "write lengths such as 32,64,128, or assemble the entry again"
        )
        return
    longest = _longest_sequence(model) if model is not None else None
    if longest is not None and (problem := find_bucket_problem(buckets[-1], longest)):
        yield entry.at("parameter-value", where, problem, f"keep {_BUCKETS} within {longest}")


def _find_limit_problems(entry: EntryFolder) -> Iterator[Finding]:
    config: Any = entry.config
    if _LIMIT not in config.parameters:
        return  # the tokenizer has a limit of its own
    text = config.parameters[_LIMIT].string_value
    if not (text.isascii() and text.isdigit() and int(text[:20])):
        message = f"{_LIMIT} is '{text:.40}', which the tokenizer cannot use: it is not a whole number of 1 or more"
        yield entry.at("parameter-value", f"parameters.{_LIMIT}", message, "write 1000000, or assemble the entry again")


def _find_choice_problems(entry: EntryFolder) -> Iterator[Finding]:
    config: Any = entry.config
    for name, known in _CHOICES.items():
        text = config.parameters[name].string_value if name in config.parameters else known[0]
        if text not in known:
            message = f"{name} is '{text:.40}', which the tokenizer cannot use: it is neither {' nor '.join(known)}"
            yield entry.at("parameter-value", f"parameters.{name}", message, f"write {known[0]}")


def _find_row_problems(entry: EntryFolder, served: EntryFolder | None) -> Iterator[Finding]:
    """Find a limit of rows that is none, or more than the model takes: a request between the two would fail there."""
    config: Any = entry.config
    if _ROWS not in config.parameters:
        return
    text, where = config.parameters[_ROWS].string_value, f"parameters.{_ROWS}"
    if not (text.isascii() and text.isdigit() and int(text[:20])):
        message = f"{_ROWS} is '{text:.40}', which the tokenizer cannot use: it is not a whole number of 1 or more"
        yield entry.at("parameter-value", where, message, "assemble the entry again")
        return
    model: Any = served.config if served is not None else None
    most = model.max_batch_size if model is not None else 0
    if served is not None and 0 < most < int(text):
        message = f"{_ROWS} is {text}, and {served.name} takes {most} at once"
        yield entry.at("parameter-value", where, message, f"write {most}")


def _find_prompt_problems(entry: EntryFolder) -> Iterator[Finding]:
    config: Any = entry.config
    text = config.parameters[_PROMPTS].string_value if _PROMPTS in config.parameters else ""
    has_input = any(tensor.name == PROMPT_NAME for tensor in config.input)
    if has_input and not text:
        message = f"it takes {PROMPT_NAME} and has no parameter {_PROMPTS}, so that it refuses every name"
        yield entry.at("parameter-value", "parameters", message, f"remove {PROMPT_NAME}, or assemble the entry again")
    if not text:
        return
    try:
        prompts = json.loads(text)
    except (ValueError, RecursionError):
        prompts = None
    if not isinstance(prompts, dict) or not all(isinstance(prompt, str) for prompt in prompts.values()):
        message = (
            f"{_PROMPTS} is '{text:.40}', which the tokenizer cannot use: it is not a JSON object of texts by name"
        )
        hint = 'write {"query": "query: "}, or assemble the entry again'
        yield entry.at("parameter-value", f"parameters.{_PROMPTS}", message, hint)


def _longest_sequence(model: RepositoryEntry) -> int | None:
    """Return the longest sequence that the model and every plan of it take; None where it is not known."""
    longest = [max(profile.max[1] for profile in engine.profiles) for engine in model.engines if engine.profiles]
    longest += [model.onnx.max_sequence_length] if model.onnx is not None else model.length_buckets[-1:]
    return min(longest, default=None)
