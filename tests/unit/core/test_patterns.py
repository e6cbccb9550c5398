"""Patterns that decide over names: a line break at the end, or digits of another script, pass none of them."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import prep_triton
import pytest
from prep_triton.deploy.request import DeploymentSpec
from prep_triton.errors import PrepError
from prep_triton.gpus import resolve_gpu
from prep_triton.publish.record import check_release_id
from prep_triton.publish.store import check_object_name
from prep_triton.publish.uri import parse_gcs_uri
from prep_triton.server_arguments import find_refused
from prep_triton.spec import TargetSpec, parse_profile
from prep_triton.triton.entries.names import check_entry_name

PACKAGE = Path(prep_triton.__file__).parent
RELEASE = "20260131T000000Z-0123456789ab"


def find_patterns() -> Iterator[tuple[str, str]]:
    """Yield the literal text of each argument of a call of the module `re`, with its place."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("re."):
                for part in (part for argument in node.args[:1] for part in ast.walk(argument)):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str | bytes):
                        text = part.value if isinstance(part.value, str) else part.value.decode("latin-1")
                        yield f"{path.relative_to(PACKAGE)}:{node.lineno}", text


def test_no_pattern_ends_before_a_line_break_or_takes_other_digits():
    """Python's `$` also matches before a last line break, and its digit class has 700 members: fullmatch, and [0-9]."""
    patterns = list(find_patterns())
    assert len(patterns) > 40
    assert [entry for entry in patterns if "$" in entry[1].replace(r"\$", "") or r"\d" in entry[1]] == []


CHECKS: dict[str, tuple[Callable[[str], object], str]] = {
    "release id": (check_release_id, RELEASE),
    "object": (lambda name: check_object_name(name, where="the repository"), "reference.npz"),
    "bucket": (parse_gcs_uri, "gs://models"),
    "entry": (lambda name: check_entry_name(name, hint="another"), "bert-onnx-fp32"),
    "gpu": (resolve_gpu, "sm_89"),
    "triton": (lambda text: TargetSpec(triton=text, gpus=("l4",)), "25.08"),
    "profile": (parse_profile, "1x16,8x128,16x384"),
    "deployment": (lambda text: DeploymentSpec(name=text), "triton-2"),
    "host": (lambda text: DeploymentSpec(gateway="istio", host=text), "models.example.com"),
    "account": (lambda text: DeploymentSpec(service_account=text), "r1@p.iam.gserviceaccount.com"),
}


@pytest.mark.parametrize("kind", CHECKS)
def test_a_name_with_a_line_break_or_a_digit_of_another_script_is_refused(kind):
    check, right = CHECKS[kind]
    check(right)
    wrong = [f"{right}\u0663", right.translate({ord("2"): "\u0662", ord("8"): "\u0668", ord("1"): "\u0661"})]
    for text in (
        *(text for text in wrong if text != right),
        *([f"{right}\n"] if kind not in {"profile", "gpu"} else []),
    ):
        with pytest.raises((PrepError, ValueError)):
            check(text)


@pytest.mark.parametrize(
    "argument", ["--log-verbose=1\n", "--log-verbose=\u0661", "--log-verbose=1\n--allow-http=false"]
)
def test_an_argument_of_the_server_is_one_line_of_plain_digits(argument):
    assert find_refused([argument]) == [argument]
