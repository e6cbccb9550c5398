"""What a sentence-transformers folder declares beside its transformer: modules.json and the files that it names.

Read off the files, without the library; an integration test holds the answers against it.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from prep_triton.artifact import EmbeddingRecord, Pooling
from prep_triton.errors import SourceError
from prep_triton.tasks import TASKS

MODULES_NAME = "modules.json"
PROMPTS_NAME = "config_sentence_transformers.json"
TRANSFORMER_PATTERN = "sentence_*_config.json"  # sentence_bert_config.json, and what other architectures called it
_HINT = "choose a model whose modules.json has a Transformer, a Pooling and perhaps a Normalize"
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
    "transformer_task": next(task for task, facts in TASKS.items() if facts.answers_embedding),
    "module_output_name": "token_embeddings",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "processing_kwargs": {},
}

# The switches of a Pooling module's configuration before version 6, in the order in which it joins several.
_POOLING_BY_SWITCH = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


def list_declaring_files(folder: Path) -> list[Path]:
    """Return the files of a folder that `find_embedding` and `load_transformer_settings` may read."""
    patterns = (MODULES_NAME, PROMPTS_NAME, TRANSFORMER_PATTERN, "[0-9]*_*/config.json")
    listed = {path for pattern in patterns for path in folder.glob(pattern)}
    return sorted(path for path in listed | _list_module_files(folder) if path.is_file())


def _list_module_files(folder: Path) -> set[Path]:
    """Return the configuration of each module, in a folder of any name; nothing where modules.json is damaged."""
    try:
        content = json.loads((folder / MODULES_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return set()
    modules = content if isinstance(content, list) else []
    paths = {module.get("path") for module in modules if isinstance(module, dict)}
    return {folder / path / "config.json" for path in paths if isinstance(path, str) and path}


def find_embedding(folder: Path | None, *, where: str) -> EmbeddingRecord:
    """Return how a checkpoint makes one vector of its token vectors; prep's own way where it declares none.

    Args:
        folder: The checkpoint; None where there is none.
        where: The model in the user's words, for the message.

    Raises:
        SourceError: It declares a module or a pooling that is not supported, or a file of it is damaged.
    """
    if folder is None or not (folder / MODULES_NAME).is_file():
        return EmbeddingRecord()
    modules = list(_list_modules(folder, where))
    kinds = [kind for kind, _ in modules if kind != "Dropout"]  # which does nothing but in training
    known = ("Transformer", "Pooling", "Normalize")
    if unknown := next((kind for kind in kinds if kind not in known), None):
        raise SourceError(
            f"{MODULES_NAME} of {where} declares a {unknown} module, which prep does not serve; supported are "
            f"{', '.join(known)}",
            hint=_HINT,
        )
    if kinds not in (list(known), list(known[:2])):
        raise SourceError(
            f"{MODULES_NAME} of {where} declares {', '.join(kinds) or 'nothing'}; supported are a Transformer, then a "
            "Pooling, then perhaps a Normalize",
            hint=_HINT,
        )
    paths = dict(modules)
    _check_place(folder, paths["Transformer"], where)
    _check_settings(load_transformer_settings(folder, where=where), where)
    pooling_config = _load_object(folder / paths["Pooling"] / "config.json", where)
    _check_dimension(folder, where)
    prompt = _find_prompt(folder, where)
    if prompt and pooling_config.get("include_prompt") is False:
        raise SourceError(
            f"the Pooling module of {where} leaves the prompt {prompt!r} out (include_prompt is false), which prep "
            "does not serve",
            hint=f"remove default_prompt_name from {PROMPTS_NAME}, and have clients send no prompt",
        )
    return EmbeddingRecord(
        pooling=_find_pooling(pooling_config, where), is_normalized="Normalize" in kinds, prompt=prompt
    )


def find_kind(folder: Path | None, *, where: str) -> str:
    """Return the class of sentence-transformers that a folder is for: SentenceTransformer, CrossEncoder, SparseEncoder.

    It is empty for a folder that is not the library's. Before version 5 only a SentenceTransformer had modules.json.

    Raises:
        SourceError: A file of the library's is damaged.
    """
    if folder is None or not (folder / MODULES_NAME).is_file():
        return ""
    path = folder / PROMPTS_NAME
    kind = _load_object(path, where).get("model_type") if path.is_file() else None
    return kind if isinstance(kind, str) else "SentenceTransformer"


def load_transformer_settings(folder: Path | None, *, where: str) -> Mapping[str, Any]:
    """Return the settings of the Transformer module, of which ``max_seq_length`` and ``do_lower_case`` matter.

    Raises:
        SourceError: The file is damaged.
    """
    if folder is None:
        return {}
    paths = (folder / f"sentence_{kind}_config.json" for kind in _TRANSFORMER_KINDS)
    return next((settings for path in paths if path.is_file() and (settings := _load_object(path, where))), {})


def find_nested_transformer(folder: Path, *, where: str) -> str | None:
    """Return the sub-folder that modules.json puts the transformer in; None where it is the folder itself.

    Raises:
        SourceError: modules.json is damaged.
    """
    if not (folder / MODULES_NAME).is_file():
        return None
    return next((path for kind, path in _list_modules(folder, where) if kind == "Transformer" and path), None)


def _check_place(folder: Path, path: str, where: str) -> None:
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


def _check_settings(settings: Mapping[str, Any], where: str) -> None:
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


def _list_modules(folder: Path, where: str) -> Iterator[tuple[str, str]]:
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
                hint=_HINT,
            )
        yield kind, str(module.get("path", ""))


def _find_pooling(config: Mapping[str, Any], where: str) -> tuple[Pooling, ...]:
    declared = config.get("pooling_mode")
    if declared is None:
        declared = [mode for switch, mode in _POOLING_BY_SWITCH.items() if config.get(switch)] or ["mean"]
    modes = [declared] if isinstance(declared, str) else declared
    known = get_args(Pooling)
    if not isinstance(modes, list) or not modes or any(mode not in known for mode in modes):
        raise SourceError(
            f"the Pooling module of {where} declares the pooling {declared!r:.80}; supported are {', '.join(known)}",
            hint="choose a model with a supported pooling",
        )
    return tuple(modes)


def _check_dimension(folder: Path, where: str) -> None:
    """Refuse vectors that the library cuts to their first values (Matryoshka)."""
    path = folder / PROMPTS_NAME
    if path.is_file() and (dimension := _load_object(path, where).get("truncate_dim")) is not None:
        raise SourceError(
            f"{PROMPTS_NAME} of {where} cuts its vectors to their first {dimension!r:.20} values (truncate_dim), which "
            "prep does not serve",
            hint=f"remove truncate_dim from {PROMPTS_NAME}, and have clients cut the vectors",
        )


def _find_prompt(folder: Path, where: str) -> str:
    """Return what the library puts before a text that comes without a prompt of its own."""
    path = folder / PROMPTS_NAME
    if not path.is_file():
        return ""
    config = _load_object(path, where)
    name, prompts = config.get("default_prompt_name"), config.get("prompts") or {}
    if name is None:
        return ""
    if not isinstance(prompts, dict) or name not in prompts:
        raise SourceError(
            f"{PROMPTS_NAME} of {where} has no prompt of its default_prompt_name {name!r:.40}",
            hint="copy the checkpoint again",
        )
    return str(prompts[name] or "")


def _load_object(path: Path, where: str) -> Mapping[str, Any]:
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
