"""The options of `prep bench` for what inferences cost."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from prep_triton.cli.completions import complete_machine

if TYPE_CHECKING:
    from prep_triton.run.costing import ChosenPrice

_DEFAULT_PRICE = "on-demand"


@dataclass(frozen=True)
class CostOptions:
    """On which machine inferences are paid for."""

    machine: Annotated[
        str | None,
        typer.Option(
            metavar="MACHINE",
            help="Machine to price inferences on, such as g2-standard-4 or n1-standard-4+t4; PREP_PRICES names more.",
            autocompletion=complete_machine,
        ),
    ] = None
    price: Annotated[
        str | None, typer.Option(metavar="on-demand|spot|committed", help="Which price of --machine. [on-demand]")
    ] = None
    region: Annotated[str | None, typer.Option(metavar="REGION", help="Region of the price. [us-central1]")] = None


def price_from_options(options: CostOptions) -> "ChosenPrice | None":
    """Return the price that the options name; None where they name no machine.

    Raises:
        SpecError: A price or a region is of no machine, or there is no such one.
    """
    from prep_triton.bench.prices import DEFAULT_REGION
    from prep_triton.errors import SpecError
    from prep_triton.run.costing import choose_price

    if options.machine is None:
        for flag, value in (("--price", options.price), ("--region", options.region)):
            if value is not None:
                raise SpecError(
                    f"{flag} {value} is of no machine",
                    hint="name it, such as --machine g2-standard-4: which one serves is not guessed",
                )
        return None
    return choose_price(options.machine, options.price or _DEFAULT_PRICE, options.region or DEFAULT_REGION)
