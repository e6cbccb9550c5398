"""Text in, answer out: the three entries beside a model entry.

::

    <entry>-tokenizer/1/       model.py, encode/, tokenizer.json, tokenizers/ (vendored, with its metadata)
    <entry>-postprocessor/1/   model.py, answer/, perhaps labels.json or tokenizer.json
    <entry>-text/1/            README.txt: object stores have no empty folders

A task whose graph answers what a client reads (sentence-embedding) has no post-processor.
Clients call the ensemble ``<entry>-text``; the model entry stays callable with ids. A request's priority may be lost
on the way (triton-inference-server/server#7116: older servers call the steps with priority 0, which is each step's
default), so that tiers rank text by the model entry's own default; see `prep_triton.triton.config.tiers`.
"""

import importlib.metadata
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prep_triton.artifact import EntryKind, OnnxModel, RepositoryEntry
from prep_triton.errors import RepositoryError, SpecError
from prep_triton.files import digest_file
from prep_triton.layout import (
    CONFIG_NAME,
    LABEL_FILE_NAME,
    LABELS_NAME,
    PLACEHOLDER_NAME,
    TOKENIZER_NAME,
    VERSION_DIR,
)
from prep_triton.progress import Progress, ignore_progress
from prep_triton.reference import count_special_tokens, load_tokenizer
from prep_triton.spec import TextSpec
from prep_triton.tasks import TASKS, Task, tasks_with_option
from prep_triton.triton.config import decode_config, parse_config, render_config
from prep_triton.triton.entries.names import TextNames, check_entry_name
from prep_triton.triton.entries.place import place_entry
from prep_triton.triton.entries.text_config import TextConfigs, is_normalized
from prep_triton.triton.vendored.packages import copy_tokenizers, describe_tokenizers
from prep_triton.triton.vendored.server_side import SERVER_PARTS, SERVER_TOOL, copy_server_files, digest_server_files
from prep_triton.workspace import Produced, Recipe

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

log = logging.getLogger(__name__)


def assemble_text_entries(
    entry: RepositoryEntry, spec: TextSpec, repository_dir: Path, *, progress: Progress = ignore_progress
) -> list[Produced[RepositoryEntry]]:
    """Write a model entry's tokenizer, post-processor and ensemble, or find that they are already there.

    Args:
        entry: The model entry, in the same repository; its folder has ``tokenizer.json``.
        spec: The choices.
        repository_dir: The repository.
        progress: Is called with what is being written.

    Returns:
        Tokenizer, post-processor where the task has one, ensemble.

    Raises:
        SpecError: A choice does not fit the task or the length buckets, or a name would be too long.
        RepositoryError: The entry has no tokenizer or no buckets, or the `tokenizers` installed here does not run in
            Triton's image.
        WorkspaceBusyError: Another run writes this repository and does not finish.
        DiskFullError, WorkspaceError: The repository cannot be written; the old entries are still whole.
    """
    _check_entry(entry)
    _check_spec(entry, spec)
    _warn_of_differences(entry, spec)
    assembly = _Assembly(entry, spec)
    names = TextNames.of(entry)
    parts: list[tuple[str, EntryKind, Callable[[Path], dict[str, Any]]]] = [
        (names.tokenizer, "tokenizer", assembly.make_tokenizer),
        (names.ensemble, "ensemble", assembly.make_ensemble),
    ]
    if TASKS[entry.task].has_postprocessor:
        parts.insert(1, (names.postprocessor, "postprocessor", assembly.make_postprocessor))
    return [
        place_entry(text_recipe(name, kind, entry, spec), repository_dir, make, progress=progress)
        for name, kind, make in parts
    ]


def text_recipe(name: str, kind: EntryKind, entry: RepositoryEntry, spec: TextSpec) -> Recipe:
    """Return everything that decides the bytes of one of the entries; imports no vendor library.

    Raises:
        SpecError: The name would be too long.
    """
    check_entry_name(name, hint="choose a shorter name for the model entry")
    tools = {tool: importlib.metadata.version(tool) for tool in ("prep-triton", "tritonclient")}
    if kind == "tokenizer":
        tools["tokenizers"] = importlib.metadata.version("tokenizers")
    if kind in SERVER_PARTS:
        tools[SERVER_TOOL] = digest_server_files(kind)
    return Recipe(
        stage="entry",
        name=name,
        spec={"text": spec.model_dump(mode="json")},
        inputs={"entry": entry.key},
        tools=tools,
    )


def _check_pairs(model: OnnxModel) -> None:
    if model.takes_pairs and not TASKS[model.task].takes_pairs:
        task = next(task for task, facts in TASKS.items() if facts.takes_pairs)
        raise SpecError(
            f"{model.name} is a cross-encoder, which scores a pair of texts, and was exported for {model.task}, whose "
            "text entry takes one",
            hint=f"export it again with --task {task}, or serve it by token ids, without text",
        )


def _check_cut(model: OnnxModel, spec: TextSpec) -> None:
    if model.cuts_beginning and spec.long_input == "truncate":
        raise SpecError(
            f"the tokenizer of {model.name} drops the beginning of a long text (truncation_side left), and a text "
            "entry drops its end",
            hint="choose long_input reject or stride (--long-input), or write truncation_side right into "
            "tokenizer_config.json and export it again",
        )


def _check_windows(task: Task, name: str, spec: TextSpec) -> None:
    if spec.long_input == "stride" and not TASKS[task].has_postprocessor:
        raise SpecError(
            f"text.long_input stride was asked for, and nothing behind the graph of {name} joins the windows of a text "
            f"({task} has no post-processor)",
            hint="choose long_input truncate or reject (--long-input), or export it with --task "
            f"{next(task for task, facts in TASKS.items() if facts.pools_outside)}",
        )


def _check_labels(task: Task, model: OnnxModel, spec: TextSpec) -> None:
    """Refuse a label that a label file, which has one a line, would read as two."""
    if "answers" not in TASKS[task].options or spec.answers != "scores":
        return
    if broken := next((label for label in model.labels if len(label.splitlines()) != 1), None):
        raise SpecError(
            f"the label {broken!r:.60} of {model.name} is not one line, and a label file has one label a line",
            hint="choose answers ranked (--answers), or write other names into id2label of its config.json",
        )


def _check_mask(artifact: OnnxModel | RepositoryEntry, model: OnnxModel) -> None:
    if not TASKS[model.task].answers_tokens:
        return
    tokenizer = load_tokenizer(artifact.path(TOKENIZER_NAME))
    if tokenizer.token_to_id(model.mask_token) is None:
        raise RepositoryError(
            f"the tokenizer of {model.name} has no {model.mask_token}, and a text for fill-mask needs one",
            hint="export the model with the tokenizer that it was trained with, or remove text from the entry",
        )


def _check_entry(entry: RepositoryEntry) -> None:
    if TOKENIZER_NAME not in entry.files:
        raise _no_tokenizer(entry.name)
    if not entry.length_buckets or entry.onnx is None:
        raise RepositoryError(
            f"{entry.name} was written by an older prep: its manifest has no length buckets, or no model",
            hint="assemble the entry again with `prep assemble`",
        )
    _check_pairs(entry.onnx)
    _check_mask(entry, entry.onnx)


def check_text_choices(task: Task, name: str, spec: TextSpec) -> None:
    """Refuse a text spec that a task cannot be served with, whatever the model.

    Args:
        task: What the model is exported for.
        name: The model, for the message.
        spec: The choices.

    Raises:
        SpecError: A choice means nothing for the task.
    """
    _check_task(task, name, spec)
    _check_windows(task, name, spec)


def check_text_request(model: OnnxModel, spec: TextSpec) -> None:
    """Refuse, before the model's own entry is written, a text spec that the model cannot be served with.

    Raises:
        SpecError: A choice means nothing for the task.
        RepositoryError: The model has no tokenizer.
    """
    if TOKENIZER_NAME not in model.files:
        raise _no_tokenizer(model.name)
    _check_pairs(model)
    _check_mask(model, model)
    _check_cut(model, spec)
    check_text_choices(model.task, model.name, spec)
    _check_labels(model.task, model, spec)


def _no_tokenizer(name: str) -> RepositoryError:
    return RepositoryError(
        f"{name} has no {TOKENIZER_NAME}, and text needs one",
        hint="export the model from a folder that has tokenizer.json or vocab.txt, or remove text from the entry",
    )


def _check_task(task: Task, name: str, spec: TextSpec) -> None:
    for key, field in TextSpec.model_fields.items():
        tasks = tasks_with_option(key)
        if task not in tasks and getattr(spec, key) != field.default:
            raise SpecError(
                f"text.{key} {getattr(spec, key)} was asked for, but {task} has none; it belongs to "
                f"{' and '.join(tasks)}",
                hint=f"remove {key} from text of {name}",
            )


def _check_spec(entry: RepositoryEntry, spec: TextSpec) -> None:
    """Refuse choices that mean nothing, and windows that could not move on."""
    _check_task(entry.task, entry.name, spec)
    _check_windows(entry.task, entry.name, spec)
    if entry.onnx:
        _check_cut(entry.onnx, spec)
        _check_labels(entry.task, entry.onnx, spec)
    if spec.long_input != "stride":
        if spec.stride != TextSpec.model_fields["stride"].default:
            raise SpecError(
                f"text.stride {spec.stride} was asked for, but long_input is {spec.long_input}",
                hint="write long_input: stride, or remove stride",
            )
        return
    longest, texts = entry.length_buckets[-1], len(TASKS[entry.task].text_inputs)
    room = longest - count_special_tokens(load_tokenizer(entry.path(TOKENIZER_NAME)), texts)
    if texts > 1:
        room -= room // 2  # what the longest question leaves
    if spec.stride >= room:
        raise SpecError(
            f"text.stride {spec.stride} does not fit {entry.name}: its longest length bucket, {longest}, leaves "
            f"windows of {room} tokens, which must overlap by less",
            hint=f"keep stride within 1..{room - 1}, or give the entry longer length_buckets",
        )


def _warn_of_differences(entry: RepositoryEntry, spec: TextSpec) -> None:
    """Say where choices make answers differ from those of the library that the checkpoint was made for."""
    model = entry.onnx
    if model is None:
        return
    longest, declared = entry.length_buckets[-1], model.declared_length or entry.length_buckets[-1]
    if longest != declared and spec.long_input != "stride":
        log.warning(
            "%s: texts are cut at %d tokens, its longest length bucket; the checkpoint declares %d",
            entry.name, longest, declared,
        )  # fmt: skip
    if TASKS[entry.task].answers_embedding and is_normalized(model, spec) != model.embedding.is_normalized:
        log.warning(
            "%s: embeddings are %s, as asked for; the checkpoint declares the opposite",
            entry.name, "normalized to length 1" if spec.normalize else "not normalized",
        )  # fmt: skip


class _Assembly:
    """Writes the files of each entry and returns its record's fields."""

    def __init__(self, entry: RepositoryEntry, spec: TextSpec) -> None:
        self.entry, self.spec = entry, spec
        self.names = TextNames.of(entry)

    def make_tokenizer(self, folder: Path) -> dict[str, Any]:
        vendored = describe_tokenizers()
        version_dir = self._write_config(folder, self._configs().tokenizer())
        self._copy_tokenizer(version_dir)
        copy_server_files("tokenizer", version_dir)
        copy_tokenizers(version_dir)
        return {**self._fields("tokenizer", "python"), "vendored": vendored}

    def make_postprocessor(self, folder: Path) -> dict[str, Any]:
        configs = self._configs()
        version_dir = self._write_config(folder, configs.postprocessor())
        copy_server_files("postprocessor", version_dir)
        if configs.labels:
            content = json.dumps(configs.labels, ensure_ascii=False, indent=1)
            (version_dir / LABELS_NAME).write_text(f"{content}\n", encoding="utf-8")
        if TASKS[self.entry.task].answers_tokens:
            self._copy_tokenizer(version_dir)
        return self._fields("postprocessor", "python")

    def make_ensemble(self, folder: Path) -> dict[str, Any]:
        version_dir = self._write_config(folder, self._configs().ensemble())
        # Not hidden: what is hidden is not published.
        note = "An ensemble's version needs no files, and an object store keeps no empty folder.\n"
        (version_dir / PLACEHOLDER_NAME).write_text(note, encoding="utf-8")
        if self.spec.answers == "scores":
            (folder / LABEL_FILE_NAME).write_text("".join(f"{label}\n" for label in self._configs().labels), "utf-8")
        last = (self.names.postprocessor,) if TASKS[self.entry.task].has_postprocessor else ()
        steps = (self.names.tokenizer, self.entry.name, *last)
        return {**self._fields("ensemble", "ensemble"), "composes": steps}

    def _configs(self) -> TextConfigs:
        path = self.entry.path(CONFIG_NAME)
        model = parse_config(decode_config(path.read_bytes()), where=str(path))
        return TextConfigs(self.entry, model, self.spec)

    def _write_config(self, folder: Path, config: "ModelConfig") -> Path:
        (folder / CONFIG_NAME).write_text(render_config(config), encoding="utf-8")
        version_dir = folder / VERSION_DIR
        version_dir.mkdir()
        return version_dir

    def _copy_tokenizer(self, version_dir: Path) -> None:
        source, target = self.entry.path(TOKENIZER_NAME), version_dir / TOKENIZER_NAME
        shutil.copyfile(source, target)
        if digest_file(target) != self.entry.files[TOKENIZER_NAME].sha256:
            raise RepositoryError(
                f"{source} is damaged: its digest is not the one in its manifest",
                hint=f"assemble {self.entry.name} again",
            )

    def _fields(self, kind: str, runtime: str) -> dict[str, Any]:
        shared = ("precision", "task", "architecture", "weights", "max_batch_size", "tolerance", "length_buckets")
        batch = {"max_batch_size": 0} if TASKS[self.entry.task].takes_pairs else {}
        return {
            **{name: getattr(self.entry, name) for name in shared},
            **batch,  # see `TextConfigs`
            "kind": kind,
            "runtime": runtime,
            "serves": self.entry.name,
        }
