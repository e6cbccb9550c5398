"""The loads that a command line names, and the moments at which an open loop sends."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, assert_never

from prep_triton.bench.records import Arrivals, Load
from prep_triton.errors import SpecError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

DEFAULT_CONCURRENCY = "1,4,16"
MOST_POINTS = 100
MOST_CONCURRENCY = 512
MOST_RATE = 100_000.0
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")


def parse_concurrency(text: str) -> tuple[Load, ...]:
    """Return the closed loops of ``1,4,16`` or, as perf_analyzer spells a sweep, ``4:24:2``.

    Raises:
        SpecError: It is neither, or beyond what one process sends.
    """
    values = _parse_sweep(text, "--concurrency", ("1,4,16", "4:24:2"))
    if any(value != int(value) or not 1 <= value <= MOST_CONCURRENCY for value in values):
        raise SpecError(
            f"--concurrency {text} is not of whole numbers from 1 to {MOST_CONCURRENCY}",
            hint="write --concurrency 1,4,16",
        )
    return tuple(Load(kind="closed", value=value) for value in values)


def parse_rates(text: str, arrivals: Arrivals) -> tuple[Load, ...]:
    """Return the open loops of ``50:400:50`` or ``50,100``, in requests a second.

    Raises:
        SpecError: It is neither, or beyond what one process sends.
    """
    values = _parse_sweep(text, "--rate", ("50,100", "50:400:50"))
    if any(not 0 < value <= MOST_RATE for value in values):
        raise SpecError(f"--rate {text} is not of rates above 0 and up to {MOST_RATE:,.0f}", hint="write --rate 50,100")
    return tuple(Load(kind="open", value=value, arrivals=arrivals) for value in values)


def draw_arrivals(load: Load, seconds: float, seed: Sequence[int]) -> "Array":
    """Return when an open loop sends, in seconds from its start, ascending; the same for the same seed.

    Args:
        load: The rate, and how arrivals follow each other.
        seconds: For how long.
        seed: Numbers that say which draw it is.
    """
    import numpy as np

    match load.arrivals:
        case "constant" | None:
            return np.arange(int(seconds * load.value)) / load.value
        case "poisson":
            # Given how many there are, the moments of a Poisson process are uniform. A fixed count (of the rate times
            # the time) keeps two sides of a comparison at the same load; the gaps stay those of Poisson arrivals.
            count = max(1, round(seconds * load.value))
            return np.sort(np.random.default_rng([*seed, 1]).uniform(0.0, seconds, count))
        case _:
            assert_never(load.arrivals)


def _parse_sweep(text: str, flag: str, examples: tuple[str, str]) -> list[float]:
    separator = ":" if ":" in text else ","
    words = [word.strip() for word in text.split(separator)]
    if not all(map(_NUMBER.fullmatch, words)) or (separator == ":" and len(words) not in (2, 3)):
        raise SpecError(f"{flag} '{text}' is not a list or START:END:STEP", hint=f"write {flag} {examples[0]}")
    values = list(map(float, words))
    if separator == ":":
        start, end, step = [*values, 1.0][:3]
        if step <= 0 or end < start:
            raise SpecError(f"{flag} {text} never ends", hint=f"write {flag} {examples[1]}")
        # The end belongs to it, also where the step is a fraction.
        count = int((end - start) / step + 1e-9) + 1
        values = [start + index * step for index in range(min(count, MOST_POINTS + 1))]
    if len(values) > MOST_POINTS:
        raise SpecError(f"{flag} {text} has more than {MOST_POINTS} points", hint="take a larger step")
    return list(dict.fromkeys(values))
