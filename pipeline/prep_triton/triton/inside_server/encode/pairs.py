"""How two texts share the room that the model has for both, as the library `tokenizers` cuts them."""

from typing import Any

STRATEGIES = ("longest_first", "only_first", "only_second")


def share_room(first: int, second: int, room: int, strategy: str) -> tuple[int, int] | None:
    """Return how many tokens each of two texts keeps; None where the strategy leaves a text that it cuts none.

    The rule is that of tokenizers (utils/truncation.rs, ``truncate_encodings``), which transformers and
    sentence-transformers call: with ``longest_first`` the longer one is cut down to the shorter, then both to half of
    the room, of which the longer one, or of equals the second, has the odd token.

    Args:
        first: Tokens of the first text, without special tokens.
        second: Those of the second.
        room: Tokens that both may have together.
        strategy: One of `STRATEGIES`.
    """
    if first + second <= room:
        return first, second
    if strategy == "only_first":
        return (room - second, second) if second < room else None
    if strategy == "only_second":
        return (first, room - first) if first < room else None
    shorter = min(first, second)
    kept = (shorter, max(shorter, room - shorter)) if shorter <= room else (shorter, shorter)
    if sum(kept) > room:
        kept = (room // 2, room // 2 + room % 2)
    return (kept[1], kept[0]) if first > second else kept


def counts_decide(first: Any, second: Any, room: int, strategy: str) -> bool:
    """Whether it matters which of two texts is the longer, and neither was read to its end."""
    return strategy == "longest_first" and bool(room % 2) and not (first.is_whole or second.is_whole)
