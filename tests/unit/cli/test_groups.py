"""Groups of options become the flat parameters of a command, and come back as what the user asked for."""

import inspect
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from prep_triton.cli.deploy import DeploymentOptions
from prep_triton.cli.export import ExportOptions
from prep_triton.cli.groups import expand_groups, flag_of, given_options, group_from_flags, spec_from_flags
from prep_triton.cli.options import TargetOptions, target_from_flags
from prep_triton.cli.variant_options import VariantOptions, variant_from_flags
from prep_triton.cli.verify import ServerOptions
from prep_triton.deploy.request import DeploymentSpec
from prep_triton.errors import SpecError
from prep_triton.spec import (
    BuildOptions,
    CalibrationSpec,
    GateSpec,
    ModelSpec,
    QuantizationSpec,
    TargetSpec,
    VariantSpec,
    VerifySpec,
)
from typer.testing import CliRunner


@dataclass(frozen=True)
class Inner:
    sizes: Annotated[list[int] | None, typer.Option("--size", help="A size; repeat it.")] = None
    deep: Annotated[bool, typer.Option(help="Look deeper.")] = False


@dataclass(frozen=True)
class Outer:
    count: Annotated[int, typer.Option(help="How many.")] = 1
    inner: Inner = Inner()


def make_app() -> tuple[typer.Typer, list[tuple[str, Outer]]]:
    app, calls = typer.Typer(), []

    @app.command()
    @expand_groups
    def look(place: Annotated[str, typer.Argument()] = "here", outer: Outer = Outer()) -> None:
        """Look."""
        calls.append((place, outer))

    return app, calls


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        ([], ("here", Outer())),
        (["there", "--count", "3"], ("there", Outer(count=3))),
        (["--size", "1", "--size", "2", "--deep"], ("here", Outer(inner=Inner(sizes=[1, 2], deep=True)))),
    ],
)
def test_a_command_gets_its_groups(arguments: list[str], call: tuple[str, Outer]):
    app, calls = make_app()
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert calls == [call]


def test_every_option_is_in_the_help():
    app, _ = make_app()
    shown = CliRunner().invoke(app, ["--help"]).output
    assert [flag for flag in ("--count", "--size", "--deep", "How many.", "[default: 1]") if flag not in shown] == []


def test_two_options_of_one_name_are_a_mistake():
    @dataclass(frozen=True)
    class Other:
        count: Annotated[int, typer.Option()] = 2

    def look(outer: Outer = Outer(), other: Other = Other()) -> None:
        raise AssertionError

    with pytest.raises(TypeError, match="'count' is in two groups"):
        expand_groups(look)


def test_what_was_left_alone_is_not_a_request():
    assert given_options(Outer()) == {}
    assert given_options(Outer(count=2, inner=Inner(deep=True))) == {"count": 2}
    assert given_options(Inner(sizes=[], deep=True)) == {"deep": True}


def test_an_option_knows_its_flag():
    assert [flag_of(Inner(), name) for name in ("sizes", "deep")] == ["--size", "--deep"]


def test_flags_become_a_spec_of_their_names():
    assert spec_from_flags(TargetSpec, TargetOptions(triton="25.08", gpus=["T4"])) == TargetSpec(
        triton="25.08", gpus=("t4",)
    )
    with pytest.raises(SpecError, match="the command line, triton: 'new' is not a Triton release"):
        spec_from_flags(TargetSpec, triton="new")


@pytest.mark.parametrize(
    ("options", "spec"),
    [(ExportOptions(), ModelSpec(model="m")), (DeploymentOptions(), DeploymentSpec()), (ServerOptions(), VerifySpec())],
)
def test_a_default_in_the_help_is_the_specs(options, spec):
    more = {"model": "m"} if isinstance(spec, ModelSpec) else {}
    values = {name: value for name in vars(options) if (value := getattr(options, name)) is not None}
    assert type(spec).model_validate(values | more) == spec


@pytest.mark.parametrize(
    ("flag", "options"), [("--gpu", {"gpus": ["t4"]}), ("--platform", {"platform": "linux/arm64"})]
)
def test_a_target_without_a_name_is_refused(flag: str, options: dict):
    assert target_from_flags(TargetOptions()) is None
    with pytest.raises(SpecError, match=f"{flag} describes a target, but --target is missing"):
        target_from_flags(TargetOptions(**options))


def variant(**flags) -> VariantSpec:
    defaults = {name: parameter.default for name, parameter in inspect.signature(flat).parameters.items()}
    return variant_from_flags(group_from_flags(VariantOptions, {**defaults, **flags}))


@expand_groups
def flat(options: VariantOptions) -> None:
    """Have the flags of a variant."""


def test_every_key_of_a_variant_has_a_flag():
    keys = {*BuildOptions.model_fields, *CalibrationSpec.model_fields, *GateSpec.model_fields}
    keys |= set(QuantizationSpec.model_fields) - {"calibration"}
    assert keys <= set(inspect.signature(flat).parameters)


def test_variant_flags_become_the_keys_of_their_names():
    assert variant(gpus=["t4"]) == VariantSpec(runtime="tensorrt", precision="fp16", gpus=("t4",))
    spec = variant(gpus=["t4"], int8_if_faster=True, path="a.txt", samples=8, smoothing=False, min_cosine=0.9)
    assert (spec.precision, spec.int8_if_faster, spec.gate) == ("int8", True, GateSpec(min_cosine=0.9))
    assert spec.quantization == QuantizationSpec(
        calibration=CalibrationSpec(path="a.txt", samples=8), smoothing_alpha=None
    )


def test_onnxruntime_gets_no_key_of_tensorrt_unless_it_was_asked_for():
    assert variant(runtime="onnxruntime", fp32=True) == VariantSpec(runtime="onnxruntime", precision="fp32")
    with pytest.raises(SpecError, match="builder means nothing for runtime onnxruntime"):
        variant(runtime="onnxruntime", builder="tensorrt")
