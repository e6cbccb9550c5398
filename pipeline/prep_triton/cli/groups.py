"""Option groups: a command takes dataclasses of options, and Typer gets the flat parameters that it needs.

    @dataclass(frozen=True)
    class OutputOptions:
        json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False

    @expand_groups
    def export(model: ModelArgument, output: OutputOptions = OutputOptions()) -> None: ...

A group is a frozen dataclass with a default for every option, and may hold other groups. A field is called as the
key of the spec that it becomes, so `spec_from_flags` needs no table from flags to keys; where the flag has another
name, the field says so: ``gpus: Annotated[…, typer.Option("--gpu")]``.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from prep_triton.cli.flag_names import COMMAND_LINE, name_flags

if TYPE_CHECKING:
    from prep_triton.spec import Spec

    S = TypeVar("S", bound=Spec)

G = TypeVar("G")


def expand_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command whose signature has the options of every group, and which calls `command` with the groups.

    Raises:
        TypeError: Two groups have an option of the same name.
    """
    hints = get_type_hints(command, include_extras=True)
    parameters: dict[str, inspect.Parameter] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        for flat in _expand_parameter(name, hints[name], parameter.default):
            if flat.name in parameters:
                raise TypeError(f"{command.__name__}: option '{flat.name}' is in two groups")
            parameters[flat.name] = flat

    @functools.wraps(command)
    def run(**flags: Any) -> None:
        command(**{name: _collect(name, hint, flags) for name, hint in hints.items() if name != "return"})

    run.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
    run.__annotations__ = {name: parameter.annotation for name, parameter in parameters.items()}
    return run


def group_from_flags(group: type[G], flags: Mapping[str, Any]) -> G:
    """Build a group, and the groups in it, from flat values by option name."""
    hints = get_type_hints(group, include_extras=True)
    return group(**{name: _collect(name, hint, flags) for name, hint in hints.items()})


def given_options(group: Any) -> dict[str, Any]:
    """Return the options that differ from their defaults, by name, without those of the groups within.

    What the user left alone is not a request: the spec knows its default, and what only some of its forms have.
    """
    values = {field.name: (getattr(group, field.name), field.default) for field in fields(group)}
    return {
        name: value
        for name, (value, default) in values.items()
        if value != default and value not in (None, []) and not is_dataclass(value)
    }


def flag_of(group: Any, option: str) -> str:
    """Return the flag of one of a group's options, as the user writes it."""
    info = get_type_hints(type(group), include_extras=True)[option].__metadata__[0]
    # In an Annotated, typer.Option takes the first name where a default would stand.
    return info.default if isinstance(info.default, str) else f"--{option.replace('_', '-')}"


def list_flags(groups: Iterable[Any]) -> dict[str, str]:
    """Return the flag of each option of some groups, and of the groups in them, by its key."""
    return dict(_iterate_flags(groups))


def _iterate_flags(groups: Iterable[Any]) -> Iterator[tuple[str, str]]:
    for group in groups:
        for field in fields(group):
            value = getattr(group, field.name)
            if is_dataclass(value):
                yield from _iterate_flags([value])
            else:
                yield field.name, flag_of(group, field.name).partition("/")[0]


def spec_from_flags(
    spec_type: "type[S]", *groups: Any, where: str = COMMAND_LINE, flags: Mapping[str, str] | None = None, **more: Any
) -> "S":
    """Build a spec from the options that were given, whose names are its keys, and from `more` that is not None.

    Args:
        spec_type: The spec.
        groups: The options.
        where: What the values were written in, for the message.
        flags: The flag of each key, for the message; those of `groups` where None.
        more: Other keys.

    Raises:
        SpecError: The flags are not a valid request.
    """
    from prep_triton.errors import SpecError
    from prep_triton.spec import build_spec

    values: dict[str, Any] = {}
    for group in groups:
        values |= given_options(group)
    values |= {key: value for key, value in more.items() if value is not None}
    try:
        return build_spec(spec_type, values, where=where)
    except SpecError as err:
        raise name_flags(err, list_flags(groups) if flags is None else flags, where=where) from err


def _expand_parameter(name: str, hint: Any, default: Any) -> Iterator[inspect.Parameter]:
    if not is_dataclass(hint):
        yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
        return
    hints = get_type_hints(hint, include_extras=True)
    for field in fields(hint):
        yield from _expand_parameter(field.name, hints[field.name], field.default)


def _collect(name: str, hint: Any, flags: Mapping[str, Any]) -> Any:
    return group_from_flags(hint, flags) if isinstance(hint, type) and is_dataclass(hint) else flags[name]
