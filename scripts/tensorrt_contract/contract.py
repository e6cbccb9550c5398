"""Whether a version of TensorRT has what the code uses, and the table that says so for all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.tensorrt_contract.bindings import Bindings
from scripts.tensorrt_contract.uses import Use


@dataclass(frozen=True)
class Lack:
    """A use that a version does not have, and why."""

    version: str
    use: Use
    reason: str

    @property
    def sentence(self) -> str:
        """The lack with the place of the use: one line."""
        return f"{self.use.place}: {self.use.name}: TensorRT {self.version} {self.reason}"


def find_lacks(uses: Sequence[Use], bindings: Bindings, *, is_newest: bool = False) -> list[Lack]:
    """Return the uses that fail with a version.

    What the code guards counts where its guard, the class that is looked up with a default, is there, and a word
    never fails. With the newest version everything counts: there, what is missing is misspelt or gone.
    """
    lacks = []
    for use in uses:
        is_certain = use.kind != "word" and (use.guard in bindings.classes if use.guard else not _is_guard(use, uses))
        if (is_newest or is_certain) and (reason := find_reason(use, bindings)):
            lacks.append(Lack(bindings.version, use, reason))
    return lacks


def find_reason(use: Use, bindings: Bindings) -> str:
    """Say why a version does not have a use; empty where it does."""
    members = bindings.classes.get(use.owner)
    if members is None:
        return f"has no {use.owner}"
    if use.kind == "class":
        return ""
    member = members.get(use.member)
    if member is None:
        return f"has no {use.owner}.{use.member}"
    if use.kind == "write" and not member["writable"]:
        return f"does not let {use.owner}.{use.member} be set"
    if use.kind in {"call", "override"} and not any(_takes(use, signature) for signature in member["signatures"]):
        return f"has {use.owner}.{use.member} with other parameters"
    return ""


def render_table(uses: Sequence[Use], columns: Mapping[str, Bindings]) -> str:
    """Render a Markdown table: a row for each use, a column for each version."""
    rows = [
        [
            f"`{use.name}`",
            _describe_guard(use, uses),
            *("" if find_reason(use, held) else "yes" for held in columns.values()),
        ]
        for use in uses
    ]
    head = ["what `prep_triton.engine` uses", "where it is missing", *columns]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def _describe_guard(use: Use, uses: Sequence[Use]) -> str:
    if use.guard or _is_guard(use, uses):
        return "is not called"
    return "matches nothing" if use.kind == "word" else "fails"


def _is_guard(use: Use, uses: Sequence[Use]) -> bool:
    return use.kind == "class" and any(other.guard == use.owner for other in uses)


def _takes(use: Use, signature: Mapping[str, Any]) -> bool:
    parameters = list(signature["parameters"])
    if use.kind == "override":
        return len(parameters) == use.positional
    rest = parameters[1 + use.positional :]  # behind self
    names = {parameter["name"] for parameter in rest}
    if 1 + use.positional > len(parameters):
        return any(parameter["name"].startswith("*") for parameter in parameters)
    required = {parameter["name"] for parameter in rest if not parameter["optional"]}
    return set(use.keywords) <= names and required <= set(use.keywords)
