"""The tokenizer of a checkpoint: what transformers' AutoTokenizer makes of its folder, as ``tokenizer.json``."""

import codecs
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prep_triton.architectures import ARCHITECTURE_NAMES, ARCHITECTURES
from prep_triton.errors import SourceError
from prep_triton.export.checkpoint import silence_vendors
from prep_triton.export.folder import CONFIG_NAME, find_vocabulary
from prep_triton.export.sentence_transformers import load_transformer_settings
from prep_triton.files import load_json
from prep_triton.layout import TOKENIZER_NAME
from prep_triton.reference import TOKENIZER_PROBES, encode_all, is_tokenizer_error, load_tokenizer, silence_panics

_AGAIN = "copy the checkpoint again"
_SETTINGS_FILES = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_ADDING_FILES = (*_SETTINGS_FILES, TOKENIZER_NAME)


def save_tokenizer(folder: Path, target: Path, vocab_size: int, *, where: str) -> Any:
    """Write a checkpoint's ``tokenizer.json`` into a folder and return it as a ``tokenizers.Tokenizer``.

    Every file of the checkpoint has its say, as transformers reads them: flags of tokenizer_config.json win over
    tokenizer.json. What is written gives transformers' own ids to `TOKENIZER_PROBES`.

    Args:
        folder: The checkpoint.
        target: The artifact's folder.
        vocab_size: The number of rows in the model's embedding.
        where: The model, for the message.

    Raises:
        SourceError: The vocabulary is missing, damaged, or larger than the model's, or its class has no
            tokenizer.json that gives the same ids.
    """
    vocabulary = find_vocabulary(folder, where=where).name
    _check_settings(folder, where)
    _check_code(folder, where)
    lowers = load_transformer_settings(folder, where=where).get("do_lower_case")
    try:
        with silence_vendors():
            origin = load_origin(folder)
            _check_class(origin, where)
            if lowers:
                _lower_case(origin.backend_tokenizer)
            (target / TOKENIZER_NAME).write_text(origin.backend_tokenizer.to_str(), encoding="utf-8")
            with silence_panics():
                expected = [list(origin(text)["input_ids"]) for text in TOKENIZER_PROBES]
        tokenizer = _load_written(target / TOKENIZER_NAME)
    except SourceError as err:  # of a copy: the user knows the checkpoint's own file
        if err.__cause__ is None:
            raise
        raise _unreadable(vocabulary, folder, where, err.__cause__) from err
    except OSError as err:
        if err.errno is not None:
            raise
        raise _unreadable(vocabulary, folder, where, err) from err
    except BaseException as err:
        if not is_tokenizer_error(err):
            raise
        raise _unreadable(vocabulary, folder, where, err) from err
    _check_ids(tokenizer, origin, expected, where)
    _check_size(tokenizer, folder, vocab_size, where)
    return tokenizer


def _check_settings(folder: Path, where: str) -> None:
    """Refuse a settings file that is no JSON object: transformers' error does not say which file it was."""
    for name in _SETTINGS_FILES:
        path = folder / name
        try:
            if not path.is_file():
                continue
            problem = "" if isinstance(load_json(path), dict) else "is not a JSON object"
            with path.open("rb") as stream:  # which Python's own reader of bytes passes over, and transformers does not
                problem = problem or ("begins with a byte order mark" if stream.read(3) == codecs.BOM_UTF8 else "")
        except OSError as err:
            problem = f"cannot be read: {err.strerror or err}"
        except ValueError as err:
            problem = f"is not JSON: {err}"
        if problem:
            raise SourceError(f"{name} of {where} {problem}", hint=_AGAIN)
    _check_length(folder, where)


def _check_length(folder: Path, where: str) -> None:
    """Refuse a limit in quotes, which transformers compares with a number where it cuts a text."""
    path = folder / "tokenizer_config.json"
    length = load_json(path).get("model_max_length") if path.is_file() else None
    if length is not None and not isinstance(length, int | float):
        raise SourceError(
            f"{path.name} of {where} has model_max_length {length!r:.40}, expected a number",
            hint=f"write it without quotes into {path.name}, or remove it",
        )


def _check_code(folder: Path, where: str) -> None:
    """Refuse a tokenizer of the checkpoint's own code, which transformers reads as one of its own where it may not."""
    for name in ("tokenizer_config.json", CONFIG_NAME):
        path = folder / name
        content = load_json(path) if path.is_file() else {}
        declared = content.get("auto_map") if isinstance(content, dict) else None
        if isinstance(declared, dict) and "AutoTokenizer" in declared:
            raise SourceError(
                f"{where} brings code of its own for its tokenizer (auto_map in {name}: "
                f"{declared['AutoTokenizer']!r:.80}), which prep does not run",
                hint=f"remove AutoTokenizer from auto_map in {name} only if the {TOKENIZER_NAME} beside it gives the "
                "ids that the code gives; else choose a checkpoint that runs without trust_remote_code",
            )


def _load_written(path: Path) -> Any:
    """Load what was written, and try it on the reference's sentences too: they are what it meets next."""
    from prep_triton.export.reference import load_sentences

    tokenizer = load_tokenizer(path, error=SourceError)
    encode_all(path, lambda: tokenizer.encode_batch(list(load_sentences())), error=SourceError)
    return tokenizer


def load_origin(folder: Path) -> Any:
    """Return the tokenizer that transformers' AutoTokenizer makes of a folder."""
    import transformers

    # Of config.json the kind of model and the tokenizer's class alone: its other keys say how transformers runs the
    # model, and some of them it refuses to read together. A folder of a vocabulary alone names no model.
    path = folder / CONFIG_NAME
    content = load_json(path) if path.is_file() else {}
    declared = content if isinstance(content, dict) else {}
    kind = next((name for name in ARCHITECTURES if name == declared.get("model_type")), ARCHITECTURE_NAMES[0])
    config = getattr(transformers, f"{ARCHITECTURES[kind].class_prefix}Config")()
    config.tokenizer_class = declared.get("tokenizer_class")
    return transformers.AutoTokenizer.from_pretrained(
        str(folder), local_files_only=True, trust_remote_code=False, config=config
    )


def _lower_case(tokenizer: Any) -> None:
    """Have a tokenizer lower its text first, as sentence-transformers does where its own does not."""
    from tokenizers import normalizers

    content = json.loads(tokenizer.to_str())["normalizer"] or {}
    steps = content["normalizers"] if content.get("type") == "Sequence" else [content]
    if any(step.get("type") == "Lowercase" or step.get("lowercase") for step in steps):
        return
    own = [tokenizer.normalizer] if tokenizer.normalizer else []
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])


def _check_class(origin: Any, where: str) -> None:
    if not origin.is_fast:
        raise _slow(type(origin).__name__, where)


def _slow(class_name: str, where: str) -> SourceError:
    return SourceError(
        f"the tokenizer of {where} is a {class_name}, which no {TOKENIZER_NAME} can stand for",
        hint="choose a checkpoint with a fast tokenizer, or export it with --weights random for a benchmark",
    )


def _check_ids(tokenizer: Any, origin: Any, expected: list[list[int]], where: str) -> None:
    """Refuse a class that does more than its tokenizer.json says, and one that reads none of the vocabulary."""
    for text, ids in zip(TOKENIZER_PROBES, expected, strict=True):
        if tokenizer.encode(text).ids != ids:
            raise SourceError(
                f"the tokenizer of {where}, a {type(origin).__name__}, gives other ids to {text[:40]!r} than the "
                f"{TOKENIZER_NAME} that would be served",
                hint="choose a checkpoint with a tokenizer of BERT's kind",
            )
    if not len(tokenizer.encode("a", add_special_tokens=False)):
        raise SourceError(
            f"the tokenizer of {where}, a {type(origin).__name__}, turns the letter 'a' into no token",
            hint="check tokenizer_class in its tokenizer_config.json, and that its vocabulary lies beside it",
        )


def _check_size(tokenizer: Any, folder: Path, vocab_size: int, where: str) -> None:
    ids = tokenizer.get_vocab(with_added_tokens=True)
    largest = max(ids.values(), default=-1)
    if 0 <= largest < vocab_size:
        return
    beyond = sorted((token for token, index in ids.items() if index >= vocab_size), key=ids.__getitem__)
    hint = (
        "copy the tokenizer that belongs to this checkpoint, with the tokenizer_class and the special tokens that it "
        "was saved with"
    )
    added = {str(token) for token in tokenizer.get_added_tokens_decoder().values()}
    naming = [name for name in _ADDING_FILES if beyond and _names_any(folder / name, beyond)]
    if naming and added.issuperset(beyond):
        hint = f"remove them from {', '.join(naming)}: no text with one of them has an answer, in transformers either"
    raise SourceError(
        f"the vocabulary of {where} has {largest + 1} ids, and its model has {vocab_size}: it has no row for "
        f"{', '.join(repr(token[:30]) for token in beyond[:3])}",
        hint=hint,
    )


def _names_any(path: Path, tokens: Sequence[str]) -> bool:
    if not path.is_file():
        return False
    text = path.read_text(encoding="utf-8")
    return any(json.dumps(token, ensure_ascii=ascii_only) in text for token in tokens for ascii_only in (True, False))


def _unreadable(vocabulary: str, folder: Path, where: str, err: BaseException) -> SourceError:
    reason = next((line.strip() for line in str(err).splitlines() if line.strip()), type(err).__name__)
    declared = _find_declared_class(folder)
    if declared and _is_slow(declared):  # and fails at a tokenizer.json already where it looks for its own files
        return _slow(declared, where)
    beside = f" (as a {declared}, which its tokenizer_config.json names)" if declared else ""
    return SourceError(f"{vocabulary} of {where} cannot be read{beside}: {reason:.300}", hint=_AGAIN)


def _is_slow(class_name: str) -> bool:
    import transformers

    kind = getattr(transformers, class_name, None)
    return isinstance(kind, type) and not issubclass(kind, transformers.PreTrainedTokenizerFast)


def _find_declared_class(folder: Path) -> str | None:
    try:
        name = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))["tokenizer_class"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return f"{name:.60}" if isinstance(name, str) else None
