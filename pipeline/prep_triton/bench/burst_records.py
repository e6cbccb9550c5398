"""What bursts on two tiers found: the document of `prep bench --bursts`."""

from typing import Literal

from prep_triton.artifact import Record, Share
from prep_triton.bench.records import Amount, BenchConditions, Figure, Natural

BURSTS_SCHEMA = 1
BurstCaseName = Literal["tier 1 alone", "tier 2 alone", "without tiers", "with tiers"]
BURST_CASES: tuple[BurstCaseName, ...] = ("tier 1 alone", "tier 2 alone", "without tiers", "with tiers")
TierNumber = Literal[1, 2]


class BurstSide(Record):
    """What one tier got in a case of a burst.

    `offered_per_s` requests were to be sent; those that came while too many were unanswered were `turned_away`, as a
    gateway would. `kept` is `answered_per_s` over that of the tier alone with the same arrivals, and None there.
    Latencies are of the requests that were sent, from the moment at which they were meant to be. A side that its
    generator did not send in time is not `sustained`.
    """

    tier: TierNumber
    offered_per_s: Amount
    answered_per_s: Figure
    kept: Figure | None
    p50_ms: Figure
    p99_ms: Figure
    p99_of_rounds_ms: tuple[Amount, ...]
    requests: Natural
    turned_away: Natural
    errors: Natural
    error_messages: dict[str, Natural]
    sustained: bool


class BurstCase(Record):
    """One burst as one case has it; `others_cores` is what other programs took of the machine's cores meanwhile."""

    burst: Natural
    case: BurstCaseName
    sides: tuple[BurstSide, ...]
    others_cores: Amount | None = None


class BurstTier(Record):
    """A tier: the entry that plays it, and what it answers alone with `most_unanswered` requests under way."""

    tier: TierNumber
    entry: str
    capacity_per_s: Figure


class BurstShares(Record):
    """What a burst sends to each tier, as a share of what that answers alone."""

    burst: Natural
    tier_1: Amount
    tier_2: Amount


class BurstReport(Record):
    """Three bursts on two tiers of one server, with and without tiers; two servers take turns.

    A round in which other programs took more than `disturbed_share` of the cores was played again, at most twice;
    `played_again` counts those. A `partial` report was ended before its end, for the `partial_reason`.
    """

    schema_version: int = BURSTS_SCHEMA
    kind: Literal["bursts"] = "bursts"
    partial: bool = False
    partial_reason: str = ""
    conditions: BenchConditions
    server_arguments: tuple[str, ...]
    most_unanswered: Natural
    disturbed_share: Share
    played_again: Natural
    tiers: tuple[BurstTier, ...]
    bursts: tuple[BurstShares, ...]
    cases: tuple[BurstCase, ...]
