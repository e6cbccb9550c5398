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
    """Whether it matters which of two texts (`bounded.Part`) is the longer, and what was read of them does not tell."""
    if strategy != "longest_first" or not room % 2 or min(len(first), len(second)) <= room // 2:
        return False  # nobody has the odd token, or the longer one has it whatever its length
    if first.is_whole != second.is_whole:
        whole, other = (first, second) if first.is_whole else (second, first)
        return len(whole) >= len(other)
    return not first.is_whole
