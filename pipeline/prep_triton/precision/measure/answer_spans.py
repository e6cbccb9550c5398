"""From a question and a long context to windows that fit the model, and from its logits back to the context's text.

The rules are those of BERT's own SQuAD script (google-research/bert, run_squad.py): a question keeps its first 64
tokens, windows of the context overlap by 128 tokens, the 20 best starts and ends are paired, and an answer has 30
tokens at most.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

WINDOW_STRIDE = 128
BEST_COUNT = 20
MAX_ANSWER_TOKENS = 30
MAX_QUESTION_TOKENS = 64
# SQuAD v2.0: no answer is predicted where its score passes the best span's by more than this.
NULL_THRESHOLD = 0.0


@dataclass(frozen=True)
class Window:
    """One sequence for the model: ``[CLS] question [SEP] part of the context [SEP]``.

    `offsets` holds, for each token, where it stands in the context (characters, end exclusive), or None
    for a token of the question and a special one.
    """

    ids: tuple[int, ...]
    type_ids: tuple[int, ...]
    offsets: tuple[tuple[int, int] | None, ...]


def split_windows(tokenizer: Any, question: str, context: str, max_tokens: int) -> list[Window]:
    """Cut a context into overlapping windows, each behind the whole question.

    Args:
        tokenizer: A ``tokenizers.Tokenizer`` without truncation and padding.
        question: Cut to `MAX_QUESTION_TOKENS`, or to half a window where that is less.
        context: Where the answer stands.
        max_tokens: The length of a window, special tokens included.
    """
    special = tokenizer.num_special_tokens_to_add(True)  # noqa: FBT003 - the library's own signature
    encoded_question = tokenizer.encode(question, add_special_tokens=False)
    encoded_question.truncate(min(MAX_QUESTION_TOKENS, (max_tokens - special) // 2))
    part = tokenizer.encode(context, add_special_tokens=False)
    room = max_tokens - special - len(encoded_question)
    part.truncate(room, stride=min(WINDOW_STRIDE, room // 2))
    windows = []
    for piece in (part, *part.overflowing):
        whole = tokenizer.post_process(encoded_question, piece)
        offsets = tuple(
            offset if sequence == 1 else None
            for offset, sequence in zip(whole.offsets, whole.sequence_ids, strict=True)
        )
        windows.append(Window(tuple(whole.ids), tuple(whole.type_ids), offsets))
    return windows


def find_answer(
    context: str, windows: Sequence[Window], logits: "Sequence[tuple[Array, Array]]", *, may_be_none: bool
) -> str:
    """Return the best answer of all windows, as it is written in the context.

    Args:
        context: The text that the windows were cut from.
        windows: Its windows.
        logits: Start and end logits of each window, shape [its tokens].
        may_be_none: Whether the first token ([CLS]) may win, which means that there is no answer: an empty text.
    """
    best_score, best_text = float("-inf"), ""
    null_score = float("inf")
    for window, (start_logits, end_logits) in zip(windows, logits, strict=True):
        null_score = min(null_score, float(start_logits[0]) + float(end_logits[0]))
        score, text = _find_best_span(context, window, start_logits, end_logits)
        if score > best_score:
            best_score, best_text = score, text
    if may_be_none and null_score - best_score > NULL_THRESHOLD:
        return ""
    return best_text


def _find_best_span(context: str, window: Window, start_logits: "Array", end_logits: "Array") -> tuple[float, str]:
    best_score, best_text = float("-inf"), ""
    ends = _rank(end_logits)
    for start in _rank(start_logits):
        begin = window.offsets[start]
        for end in ends:
            finish = window.offsets[end]
            if begin is None or finish is None or not 0 <= end - start < MAX_ANSWER_TOKENS:
                continue
            score = float(start_logits[start]) + float(end_logits[end])
            if score > best_score:
                best_score, best_text = score, context[begin[0] : finish[1]]
    return best_score, best_text


def _rank(logits: "Array") -> list[int]:
    """Return the positions of the `BEST_COUNT` largest logits, the first of equals first."""
    ranked: list[int] = (-logits).argsort(kind="stable")[:BEST_COUNT].tolist()
    return ranked
