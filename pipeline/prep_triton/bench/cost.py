"""What inferences cost: dollars an hour over inferences a second."""

_SECONDS_PER_HOUR = 3600
_MILLION = 1_000_000


def inferences_per_usd(inferences_per_s: float, usd_per_hour: float) -> float:
    """Return how many inferences a dollar buys on a machine that makes so many a second, all the time."""
    return inferences_per_s * _SECONDS_PER_HOUR / usd_per_hour


def usd_per_million(inferences_per_s: float, usd_per_hour: float) -> float:
    """Return the dollars that a million inferences cost; `inferences_per_s` is above 0."""
    return _MILLION / inferences_per_usd(inferences_per_s, usd_per_hour)
