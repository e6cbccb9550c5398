"""Rows of token ids, and how they are put into batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prep_triton.tasks import PROMPT_MASK

# A batch holds rows of similar length: at most so many rows, tokens (what attention needs) and values of an answer
# (64 MiB of FP32: a vocabulary-wide answer to every token is large).
_BATCH_ROWS, _BATCH_TOKENS, _BATCH_VALUES = 16, 2048, 2**24


@dataclass(frozen=True)
class TokenRow:
    """Token ids and token types of one row of a batch, without padding.

    The first `left_out` of them attend, and a graph's pooling leaves them out: see `tasks.PROMPT_MASK`.
    """

    ids: tuple[int, ...]
    type_ids: tuple[int, ...]
    left_out: int = 0

    @property
    def mask(self) -> list[int]:
        """The attention mask of the row."""
        return [PROMPT_MASK if place < self.left_out else 1 for place in range(len(self.ids))]


def split_batches(lengths: Sequence[int], width: int) -> Iterator[list[int]]:
    """Yield the indexes of rows in batches of similar lengths, the longest first.

    Args:
        lengths: The tokens of each row.
        width: The values that the graph answers for each token.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    start = 0
    while start < len(order):
        longest = lengths[order[start]]
        rows = max(1, min(_BATCH_ROWS, _BATCH_TOKENS // longest, _BATCH_VALUES // (longest * width)))
        yield order[start : start + rows]
        start += rows
