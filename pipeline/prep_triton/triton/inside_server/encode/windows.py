"""How long texts are cut, and to which length rows are padded."""

from collections.abc import Sequence


def choose_bucket(length: int, buckets: Sequence[int]) -> int:
    """Return the smallest of the increasing `buckets` that holds `length` tokens.

    Raises:
        ValueError: Even the largest does not.
    """
    for bucket in buckets:
        if length <= bucket:
            return bucket
    raise ValueError(f"{length} tokens exceed the longest length bucket, {buckets[-1]}")


def cut_windows(count: int, room: int, stride: int) -> list[tuple[int, int]]:
    """Return the windows (begin, end) that cover `count` tokens, in order.

    All but the last hold `room` tokens; each begins `stride` tokens before the one before it ends. A text
    without tokens has one empty window.

    Raises:
        ValueError: `stride` leaves no room to move on.
    """
    if not 0 <= stride < room:
        raise ValueError(f"windows of {room} tokens cannot overlap by {stride}")
    windows = [(0, min(room, count))]
    while windows[-1][1] < count:
        begin = windows[-1][1] - stride
        windows.append((begin, min(begin + room, count)))
    return windows
