"""A sentence-transformers folder: modules.json, and what it says of the transformer and how its text is prepared.

Read off the files, without the library; an integration test holds the answers against it.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prep_triton.errors import SourceError
from prep_triton.export.weights import PICKLE_NAME, WEIGHTS_NAME
from prep_triton.tasks import TASKS

MODULES_NAME = "modules.json"
PROMPTS_NAME = "config_sentence_transformers.json"
TRANSFORMER_PATTERN = "sentence_*_config.json"  # sentence_bert_config.json, and what other architectures called it
HINT = "choose a model whose modules.json has a Transformer, a Pooling, and perhaps Dense and Normalize"
_PACKAGE = "sentence_transformers."
# As the library looks for the settings of the Transformer module: the first file that holds some.
_TRANSFORMER_KINDS = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")

# What the Transformer module hands to AutoTokenizer and AutoConfig, by its names since version 5.2 and before.
_TOKENIZER_ARGUMENTS = ("processor_kwargs", "tokenizer_args")
_CONFIG_ARGUMENTS = ("config_kwargs", "config_args")
# What of it says where files come from, or how the same answers are computed.
_HARMLESS_ARGUMENTS = frozenset(
    {"use_fast", "trust_remote_code", "revision", "token", "cache_dir", "local_files_only", "subfolder"}
    | {"dtype", "torch_dtype", "attn_implementation", "use_cache", "return_dict", "output_attentions"}
)
# Other settings of the module that decide the vectors, and what prep serves.
_SERVED_SETTINGS: Mapping[str, Any] = {
    "transformer_task": next(task for task, facts in TASKS.items() if facts.pools_outside),
    "module_output_name": "token_embeddings",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "processing_kwargs": {},
}


def list_declaring_files(folder: Path) -> list[Path]:
    """Return the files of a folder that `read_modules` and `load_transformer_settings` may read."""
    patterns = (MODULES_NAME, PROMPTS_NAME, TRANSFORMER_PATTERN, "[0-9]*_*/config.json")
    listed = {path for pattern in patterns for path in folder.glob(pattern)}
    return sorted(path for path in listed | _list_module_files(folder) if path.is_file())


def _list_module_files(folder: Path) -> set[Path]:
    """Return configuration and weights of each module, in a folder of any name; nothing of a damaged modules.json."""
    try:
        content = json.loads((folder / MODULES_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return set()
    modules = content if isinstance(content, list) else []
    paths = {module.get("path") for module in modules if isinstance(module, dict)}
    names = ("config.json", WEIGHTS_NAME, PICKLE_NAME)
    return {folder / path / name for path in paths if isinstance(path, str) and path for name in names}


def find_kind(folder: Path | None, *, where: str) -> str:
    """Return the class of sentence-transformers that a folder is for: SentenceTransformer, CrossEncoder, SparseEncoder.

    It is empty for a folder that is not the library's. Before version 5 only a SentenceTransformer had modules.json.

    Raises:
        SourceError: A file of the library's is damaged.
    """
    if folder is None or not (folder / MODULES_NAME).is_file():
        return ""
    path = folder / PROMPTS_NAME
    kind = load_object(path, where).get("model_type") if path.is_file() else None
    return kind if isinstance(kind, str) else "SentenceTransformer"


def load_transformer_settings(folder: Path | None, *, where: str) -> Mapping[str, Any]:
    """Return the settings of the Transformer module, of which ``max_seq_length`` and ``do_lower_case`` matter.

    Raises:
        SourceError: The file is damaged.
    """
    if folder is None:
        return {}
    paths = (folder / f"sentence_{kind}_config.json" for kind in _TRANSFORMER_KINDS)
    return next((settings for path in paths if path.is_file() and (settings := load_object(path, where))), {})


def find_nested_transformer(folder: Path, *, where: str) -> str | None:
    """Return the sub-folder that modules.json puts the transformer in; None where it is the folder itself.

    Raises:
        SourceError: modules.json is damaged.
    """
    if not (folder / MODULES_NAME).is_file():
        return None
    return next((path for kind, path in list_modules(folder, where) if kind == "Transformer" and path), None)


def check_place(folder: Path, path: str, where: str) -> None:
    """Refuse a transformer in a sub-folder: config.json and weights beside modules.json would be another model's."""
    if path.strip("./"):
        raise nested_transformer(folder, path, where)


def nested_transformer(folder: Path, path: str, where: str) -> SourceError:
    """Return why a folder whose transformer lies in a sub-folder of it is not read, and what helps."""
    return SourceError(
        f"{MODULES_NAME} of {where} has its Transformer in {path}, and prep reads one that lies beside it",
        hint=f'copy the files of {folder / path} into {folder}, and write "path": "" for the Transformer in its '
        f"{MODULES_NAME}",
    )


def check_settings(settings: Mapping[str, Any], where: str) -> None:
    """Refuse settings of the Transformer module that change its answers and that prep does not read."""
    for keys, reader, file in (
        (_TOKENIZER_ARGUMENTS, "tokenizer", "tokenizer_config.json"),
        (_CONFIG_ARGUMENTS, "configuration", "config.json"),
    ):
        for key in keys:
            arguments = settings.get(key)
            if names := sorted({*(arguments if isinstance(arguments, dict) else {})} - _HARMLESS_ARGUMENTS):
                raise SourceError(
                    f"the Transformer module of {where} hands {', '.join(names):.80} to its {reader} ({key}), which "
                    "prep does not read there",
                    hint=f"write them into {file} instead, and remove {key}",
                )
    for key, served in _SERVED_SETTINGS.items():
        declared = settings.get(key) or served
        if key == "modality_config" and isinstance(declared, dict):
            declared = {name: declared.get(name) for name in served}  # other modalities are not texts
        if declared != served:
            raise SourceError(
                f"the Transformer module of {where} has the {key} {declared!r:.120}, and prep serves {served!r}",
                hint="choose a model whose Transformer module gives the last hidden state of each token",
            )


def list_modules(folder: Path, where: str) -> Iterator[tuple[str, str]]:
    """Yield the class and the sub-folder of each module, in order."""
    modules = _load(folder / MODULES_NAME, where)
    for module in modules if isinstance(modules, list) else [modules]:
        if not isinstance(module, dict) or not isinstance(module.get("type"), str):
            raise SourceError(
                f"{MODULES_NAME} of {where} is not a list of modules with a type", hint="copy the checkpoint again"
            )
        kind = module["type"].rsplit(".", 1)[-1]
        if not module["type"].startswith(_PACKAGE):
            raise SourceError(
                f"{MODULES_NAME} of {where} declares the class {module['type']:.80}, which is not one of "
                "sentence-transformers, so that prep cannot know what it does",
                hint=HINT,
            )
        yield kind, str(module.get("path", ""))


def load_object(path: Path, where: str) -> Mapping[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        SourceError: It is missing, unreadable, not JSON, or holds something else.
    """
    content = _load(path, where)
    if not isinstance(content, dict):
        raise SourceError(
            f"{path.name} of {where} holds a JSON {type(content).__name__}, expected an object",
            hint="copy the checkpoint again",
        )
    return content


def _load(path: Path, where: str) -> Any:
    name = f"{path.parent.name}/{path.name}" if path.name == "config.json" else path.name
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise SourceError(
            f"{where} has no readable {name}: {err.strerror or err}", hint="copy the checkpoint again"
        ) from err
    except (ValueError, RecursionError) as err:
        raise SourceError(f"{name} of {where} is not JSON: {err}", hint="copy the checkpoint again") from err
