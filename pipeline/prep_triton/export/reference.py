"""PyTorch's FP32 answers: to shapes that try a graph, and to real sentences that later stages compare with.

`reference.npz` is read by `prep verify` and by the precision stage; see `OnnxModel`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from prep_triton.architectures import ARCHITECTURES, Architecture
from prep_triton.export.heads import count_token_types, input_names
from prep_triton.export.parity import Case
from prep_triton.export.sentence_head import read_outputs
from prep_triton.reference import count_special_tokens, join_texts
from prep_triton.tasks import TASKS, Task

# An even batch of one, an odd length, a longer one: sizes that a graph specialised by mistake would not take.
PARITY_SHAPES = ((1, 8), (2, 17), (3, 64))

REFERENCE_ROWS = 16
# 16 MB of FP32: a vocabulary-wide answer to every position of every sentence would be a quarter of a gigabyte.
MAX_REFERENCE_VALUES = 4_000_000
_LONGEST_RANDOM_ROW = 64


@dataclass(frozen=True)
class Rows:
    """Token ids of unequal length, the token type of each, and the texts that they are of.

    `texts` are empty where there is no tokenizer, `pairs`, the second text of each row, also where a row has one text.
    """

    ids: tuple[tuple[int, ...], ...]
    types: tuple[tuple[int, ...], ...]
    texts: tuple[str, ...]
    pairs: tuple[str, ...]

    def pick(self, indexes: Sequence[int], longest: int) -> "Rows":
        """Return some of the rows, each cut to `longest` tokens."""
        return Rows(
            tuple(self.ids[index][:longest] for index in indexes),
            tuple(self.types[index][:longest] for index in indexes),
            tuple(self.texts[index] for index in indexes),
            tuple(self.pairs[index] for index in indexes),
        )


@dataclass(frozen=True)
class Sizes:
    """What ids a model takes, 0 to `vocab_size` - 1, and how many of them at once.

    `window` is how far to either side the attention of some layers reaches; 0 where all see everything.
    """

    vocab_size: int
    longest: int
    window: int = 0


# Answers a batch, INT64 [batch, sequence] by input, with FP32 by output.
Responder = Callable[[Mapping[str, npt.NDArray[np.int64]]], dict[str, npt.NDArray[np.float32]]]


def load_sentences() -> tuple[str, ...]:
    """Return the packaged sentences: real text of unequal length, one a line."""
    text = (files("prep_triton.export") / "sentences.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line)


def rows_from_sentences(tokenizer: Any, longest: int, *, in_pairs: bool = False) -> Rows:
    """Tokenize the packaged sentences, cut to `longest` ids.

    Args:
        tokenizer: Frames the texts, and says which token type each token has.
        longest: Of a pair the longer text is cut.
        in_pairs: Whether each sentence stands before the next one, where there is room for two.
    """
    sentences = load_sentences()
    seconds = ("",) * len(sentences)
    if in_pairs and longest >= count_special_tokens(tokenizer, 2) + 2:
        seconds = (*sentences[1:], sentences[0])
    tokenizer.enable_truncation(longest)
    encoded = tokenizer.encode_batch(join_texts(sentences, seconds))
    return Rows(
        tuple(tuple(row.ids) for row in encoded), tuple(tuple(row.type_ids) for row in encoded), sentences, seconds
    )


def rows_from_seed(seed: int, vocab_size: int, longest: int, *, in_pairs: bool = False) -> Rows:
    """Draw ids for a model without a tokenizer: 2 * `REFERENCE_ROWS` rows of unequal length.

    In pairs, the second half of each row is of token type 1.
    """
    generator = np.random.default_rng(seed)
    count = 2 * REFERENCE_ROWS
    lengths = np.linspace(min(4, longest), min(_LONGEST_RANDOM_ROW, longest), count).astype(int)
    ids = tuple(tuple(generator.integers(0, vocab_size, length).tolist()) for length in lengths)
    types = tuple(tuple(int(in_pairs and 2 * place >= length) for place in range(length)) for length in lengths)
    return Rows(ids, types, ("",) * count, ("",) * count)


def choose_rows(rows: Rows, width: int) -> Rows:
    """Choose the rows whose padded answers stay below `MAX_REFERENCE_VALUES`.

    Args:
        rows: What there is.
        width: How many values the model answers for each position.

    Returns:
        Every other row in order where these fit; else the shortest that do, the first cut if it must be.
    """
    positions = max(1, MAX_REFERENCE_VALUES // width)
    spread = range(0, len(rows.ids), 2)[:REFERENCE_ROWS]
    if len(spread) * max(len(rows.ids[index]) for index in spread) <= positions:
        chosen = list(spread)
    else:
        by_length = sorted(range(len(rows.ids)), key=lambda index: len(rows.ids[index]))[:REFERENCE_ROWS]
        chosen = [index for rank, index in enumerate(by_length, 1) if rank * len(rows.ids[index]) <= positions]
        chosen = chosen or by_length[:1]
    return rows.pick(chosen, positions)


def answer_shapes(model: Any, architecture: Architecture, task: Task, seed: int) -> list[Case]:
    """Answer random batches of `PARITY_SHAPES`; see `draw_cases`."""
    names = input_names(architecture, token_types=count_token_types(model.config))
    sizes = Sizes(
        int(model.config.vocab_size),
        ARCHITECTURES[architecture].find_longest_input(model.config),
        int(getattr(model.config, "sliding_window", None) or 0),
    )
    return draw_cases(sizes, names, seed, partial(answer, model, task=task))


def draw_cases(sizes: Sizes, names: Sequence[str], seed: int, respond: Responder) -> list[Case]:
    """Draw random batches of `PARITY_SHAPES`, padded and capped by the model's positions, and answer them.

    The first row of each is whole and every further one is shorter. Where attention has a window, there is a batch that
    it does not span.
    """
    generator = np.random.default_rng(seed)
    cases = []
    for batch, length in (*PARITY_SHAPES, *([(2, 3 * sizes.window)] if sizes.window else [])):
        sequence = min(length, sizes.longest)
        lengths = [max(1, sequence - row * (sequence // batch)) for row in range(batch)]
        ids = tuple(tuple(generator.integers(0, sizes.vocab_size, length).tolist()) for length in lengths)
        inputs = pad_rows(ids, names)
        if "token_type_ids" in inputs:
            inputs["token_type_ids"][:, sequence // 2 :] = 1
        cases.append(Case(inputs, respond(inputs)))
    return cases


def answer_rows(model: Any, architecture: Architecture, task: Task, rows: Rows) -> Case:
    """Answer rows with PyTorch; see `lay_out_rows`."""
    names = input_names(architecture, token_types=count_token_types(model.config))
    return lay_out_rows(rows, names, task, partial(answer, model, task=task))


def lay_out_rows(rows: Rows, names: Sequence[str], task: Task, respond: Responder) -> Case:
    """Have rows answered one at a time, without any padding, and lay the answers into arrays padded with 0.

    So the reference owes nothing to a mask.
    """
    inputs = pad_rows(rows.ids, names, rows.types)
    alone = zip(rows.ids, rows.types, strict=True)
    answers = [respond(pad_rows((ids,), names, (types,))) for ids, types in alone]
    padded: dict[str, npt.NDArray[np.float32]] = {}
    for name, first in answers[0].items():
        inner = (inputs["input_ids"].shape[1], *first.shape[2:]) if TASKS[task].per_token else first.shape[1:]
        padded[name] = np.zeros((len(answers), *inner), np.float32)
        for target, row in zip(padded[name], answers, strict=True):
            target[: row[name].shape[1]] = row[name][0]
    return Case(inputs, padded)


def pad_rows(
    ids: Sequence[Sequence[int]], names: Sequence[str], types: Sequence[Sequence[int]] | None = None
) -> dict[str, npt.NDArray[np.int64]]:
    """Lay rows into INT64 arrays [rows, longest], padded with 0; token types are all 0 where None are given."""
    shape = (len(ids), max(len(row) for row in ids))
    arrays = {name: np.zeros(shape, np.int64) for name in names}
    for index, row in enumerate(ids):
        arrays["input_ids"][index, : len(row)] = row
        arrays["attention_mask"][index, : len(row)] = 1
        if types and "token_type_ids" in arrays:
            arrays["token_type_ids"][index, : len(row)] = types[index]
    return arrays


def answer(
    model: Any, inputs: Mapping[str, npt.NDArray[np.int64]], *, task: Task
) -> dict[str, npt.NDArray[np.float32]]:
    """Return PyTorch's answers to a batch, by the names of the task's outputs."""
    with one_thread(), torch.inference_mode():
        tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
        outputs = read_outputs(model, model(**tensors), tensors["attention_mask"], task)
    return {name: output.numpy() for name, output in zip(TASKS[task].outputs, outputs, strict=True)}


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: the same sums whatever the machine's cores.

    It costs BERT-base one second on an idle machine of two cores, and saves twenty on a busy one, where OpenMP's
    threads wait for each other after every operator of such short batches.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
