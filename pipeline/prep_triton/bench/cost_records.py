"""What inferences cost on a machine: part of the document of `prep bench`."""

import datetime
from typing import Annotated, Literal

from pydantic import Field

from prep_triton.artifact import Record

# Where on its curve a server is priced: at the highest load that was shown to hold the service level, at its highest
# throughput, and at 60 % of that, which is about what a server that is scaled by its load is used at.
CostPlace = Literal["slo", "full_load", "60_percent"]
_Positive = Annotated[float, Field(gt=0.0)]


class CostRow(Record):
    """What the inferences of an entry cost at one place of its curve.

    `entry` names several, with commas, where they shared the server. `load` is where the throughput was measured. All
    are None where there is no such place, and `reason` says why.
    """

    entry: str
    at: CostPlace
    load: str | None = None
    inferences_per_s: _Positive | None = None
    inferences_per_usd: _Positive | None = None
    usd_per_million: _Positive | None = None
    reason: str = ""


class Costs(Record):
    """What inferences cost on a machine that the user named, with where its price is from.

    `price` says which of the three. `notes` say what speaks against the figures: an old price, another machine.
    """

    machine: str
    accelerator: str | None
    region: str
    price: Literal["on-demand", "spot", "committed"]
    usd_per_hour: _Positive
    source: str
    source_url: str | None
    source_date: datetime.date | None
    notes: tuple[str, ...] = ()
    rows: tuple[CostRow, ...]
