"""What a machine costs an hour: ``prices.yaml``, with where each price is from.

Prices change, and differ by contract: a file of the user's adds machines and regions or replaces prices.
"""

import datetime
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from prep_triton.artifact import Record
from prep_triton.errors import SpecError, suggest
from prep_triton.quoting import show_value
from prep_triton.spec.faults import Problem, error_from_problems, find_problems
from prep_triton.spec.yaml_text import YamlDocument, load_document, parse_document

PRICES_VARIABLE = "PREP_PRICES"
DEFAULT_REGION = "us-central1"
PriceKind = Literal["on-demand", "spot", "committed"]
PRICE_KINDS: tuple[PriceKind, ...] = get_args(PriceKind)

_FILE = "prices.yaml"
_FORM = "it is YAML: us-central1: {g2-standard-4: {on_demand: 0.7068, cores: 4, accelerator: l4}}"
_ADD = f"add it in a file of your own, named by {PRICES_VARIABLE}; {_FORM}"
# What of a machine is no price, and stays where a user's row names prices alone.
_MACHINE_KEYS = ("cores", "accelerator")
_Usd = Annotated[float, Field(gt=0.0, strict=True)]  # strict: true is no price


class PriceSource(Record):
    """Where a price is from: the page, and the day on which it said so; None where that is not known."""

    name: str
    url: str | None = None
    date: datetime.date | None = None


class MachinePrice(Record):
    """Dollars an hour of one machine in one region, with its GPU; None where no source says it.

    `machine` is Google's name, with a GPU that is chosen apart after a plus sign: ``n1-standard-4+t4``. `accelerator`
    is the GPU in prep's words (`prep_triton.gpus`), None without one. `committed` is for a year.
    """

    machine: str
    region: str
    cores: Annotated[int, Field(ge=1, strict=True)]
    accelerator: str | None = None
    on_demand: _Usd | None = None
    spot: _Usd | None = None
    committed: _Usd | None = None
    source: PriceSource

    def usd_per_hour(self, kind: PriceKind) -> float | None:
        """Return one of the three prices."""
        return {"on-demand": self.on_demand, "spot": self.spot, "committed": self.committed}[kind]


def load_prices(override_path: Path | None = None) -> tuple[MachinePrice, ...]:
    """Return what machines cost.

    Args:
        override_path: A YAML file of the same form, whose rows win; None takes the one that the environment variable
            PREP_PRICES names, if there is one. A row there has no price but its own.

    Raises:
        SpecError: The file cannot be read, or is not such a table.
    """
    path = override_path or (Path(os.environ[PRICES_VARIABLE]) if os.environ.get(PRICES_VARIABLE) else None)
    if path is None:
        return _load_own_prices()
    try:
        document = load_document(path, hint=_FORM)
    except FileNotFoundError as err:
        raise SpecError(f"the prices {path} cannot be read: there is no such file", hint=_FORM) from err
    own = {(price.region, price.machine): price for price in _load_own_prices()}
    prices, problems = _read_table(document, own)
    if problems:
        raise error_from_problems(problems, where=str(path), document=document)
    return tuple({**own, **prices}.values())


def find_price(machine: str, kind: PriceKind, region: str, prices: Iterable[MachinePrice]) -> MachinePrice:
    """Return the row of a machine that has a price of that kind.

    Raises:
        SpecError: There is no such machine or region in the table, or the machine has no such price.
    """
    rows = list(prices)
    regions = dict.fromkeys(row.region for row in rows)
    here = {row.machine: row for row in rows if row.region == region}
    if not here:
        raise SpecError(
            f"there are no prices of the region '{region}', only of {', '.join(regions)}",
            hint=suggest(region, regions, otherwise=_ADD),
        )
    if machine not in here:
        holding = [name for name, row in here.items() if machine.lower() in (row.accelerator, name.partition("+")[0])]
        raise SpecError(
            f"there is no price of a machine '{machine}' in {region}, but of {', '.join(here)}",
            hint=f"did you mean {' or '.join(holding)}?" if holding else suggest(machine, here, otherwise=_ADD),
        )
    row = here[machine]
    if row.usd_per_hour(kind) is None:
        known = [other for other in PRICE_KINDS if row.usd_per_hour(other) is not None]
        raise SpecError(
            f"no source says what {machine} costs in {region} ({kind})",
            hint=f"take --price {known[0]}, or {_ADD}" if known else _ADD,
        )
    return row


def _read_table(
    document: YamlDocument, own: Mapping[tuple[str, str], MachinePrice]
) -> tuple[dict[tuple[str, str], MachinePrice], list[Problem]]:
    """Return the rows of a user's table, and what is wrong with it.

    Raises:
        SpecError: It is not a table at all.
    """
    table: Any = document.value
    if not isinstance(table, Mapping) or not all(isinstance(rows, Mapping) for rows in table.values()):
        raise SpecError(f"{document.where} is not a table of prices by region and machine", hint=_FORM)
    prices: dict[tuple[str, str], MachinePrice] = {}
    problems: list[Problem] = []
    for region, rows in table.items():
        for machine, row in rows.items():
            path = (str(region), str(machine))
            faults = list(_find_faults_of_keys(region, machine, row))
            if not faults:
                known = own[path].model_dump(include=set(_MACHINE_KEYS)) if path in own else {}
                values = {"source": {"name": document.where}, **known, **row, "region": region, "machine": machine}
                price, faults = find_problems(MachinePrice, values)
                if isinstance(price, MachinePrice):
                    prices[path] = price
            problems += [replace(fault, path=(*path, *fault.path)) for fault in faults]
    return prices, problems


def _find_faults_of_keys(region: Any, machine: Any, row: Any) -> Iterator[Problem]:
    """Yield what is wrong with a row before its prices are looked at."""
    for key in (region, machine):
        if not isinstance(key, str):
            yield Problem((), f"{show_value(key)} is not text", "put the name in quotes", at_key=True)
            return
    if not isinstance(row, Mapping):
        yield Problem((), "it is not a mapping of prices", _FORM)
        return
    for key in ("region", "machine"):
        if key in row:
            yield Problem((key,), f"unknown key '{key}'", f"the {key} is the key above", at_key=True)


@lru_cache(maxsize=1)
def _load_own_prices() -> tuple[MachinePrice, ...]:
    text = (resources.files("prep_triton.bench") / _FILE).read_text(encoding="utf-8")
    prices, problems = _read_table(parse_document(text, where=_FILE), {})
    assert not problems, problems
    return tuple(prices.values())
