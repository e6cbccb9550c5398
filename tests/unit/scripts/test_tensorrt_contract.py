"""The walk finds what code asks of TensorRT, and a version is held to it: on bindings made up here."""

import subprocess
import sys

import pytest

from scripts.tensorrt_contract import bindings as bindings_module
from scripts.tensorrt_contract.bindings import Bindings, BindingsMissingError, fetch_bindings, make_libraries
from scripts.tensorrt_contract.contract import find_lacks, render_table
from scripts.tensorrt_contract.probe import parse_signatures
from scripts.tensorrt_contract.uses import collect_uses


def method(*signatures):
    return {"kind": "method", "writable": False, "signatures": [read for text in signatures for read in text]}


def prop(returns, *, writable=False):
    return {
        "kind": "property",
        "writable": writable,
        "signatures": parse_signatures(f"get(self: T) -> tensorrt_bindings.tensorrt.{returns}"),
    }


VALUE = {"kind": "value", "writable": False, "signatures": []}
CLASSES = {
    "Net": {
        "get_layer": method(parse_signatures("get_layer(self: t.Net, index: int) -> tensorrt_bindings.tensorrt.Layer")),
        "layers": {"kind": "property", "writable": False, "signatures": parse_signatures("get(s: T) -> List[Layer]")},
        "size": prop("int"),
    },
    "Layer": {"type": prop("Kind"), "name": prop("str", writable=True)},
    "Kind": {"GEMM": VALUE, "CAST": VALUE, "MOVE": VALUE},
    "Monitor": {"step": method(parse_signatures("step(self: t.Monitor, phase: str, number: int) -> bool"))},
}
HEAD = "_MOVES = frozenset(('MOVE', 'CAST'))\n"


def names(tmp_path, code, classes=CLASSES):
    (tmp_path / "code.py").write_text(HEAD + code)
    return [use.name for use in collect_uses(tmp_path, Bindings("1", classes))]


def sentences(tmp_path, code, **held):
    (tmp_path / "code.py").write_text(HEAD + code)
    uses = collect_uses(tmp_path, Bindings("1", CLASSES))
    return [lack.sentence for lack in find_lacks(uses, Bindings("2", CLASSES | held))]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('def f(n: "trt.Net"):\n    return n.get_layer(0).name', ["Layer.name", "Net.get_layer(_)"]),
        ('def f(n: "trt.Net"):\n    n.get_layer(0).name = "x"', ["Layer.name =", "Net.get_layer(_)"]),
        ('def f(n: "trt.Net"):\n    for each in n.layers:\n        each.name', ["Layer.name", "Net.layers"]),
        ('def f(n: "trt.Net"):\n    return [each.name for each in n.layers]', ["Layer.name", "Net.layers"]),
        ('def f(n: "Sequence[trt.Net]"):\n    return n[0].size', ["Net.size"]),
        ('def f() -> "trt.Net | None": ...\ndef g():\n    return f().size', ["Net.size"]),
        ('def f(l: "trt.Layer"):\n    return l.type.name == "GEMM"', ["Kind.GEMM", "Layer.type"]),
        (
            'def f(l: "trt.Layer"):\n    return g(l, _MOVES)\ndef g(l: "trt.Layer", which):\n'
            "    return l.type.name in which",
            ["Kind.CAST", "Kind.MOVE", "Layer.type"],
        ),
        ('def f(x):\n    x.__class__ = trt.Net\n    return x.size', ["Net", "Net.size"]),
        ("class M(trt.Monitor):\n    def step(self, phase, number): ...", ["Monitor", "Monitor.step"]),
        ("def f():\n    return trt.Net(1, size=2)", ["Net", "Net.__init__(_, size=)"]),
        ("def f(x):\n    return x.size", []),
    ],
)  # fmt: skip
def test_a_use_is_found_by_the_types_that_the_code_names(tmp_path, code, expected):
    assert names(tmp_path, code) == expected


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ('def f(n: "trt.Net"):\n    n.absent', "code.py:3: Net.absent: TensorRT 2 has no Net.absent"),
        ("def f():\n    trt.Absent", "code.py:3: Absent: TensorRT 2 has no Absent"),
        ('def f(n: "trt.Net"):\n    n.size = 1', "code.py:3: Net.size =: TensorRT 2 does not let Net.size be set"),
        *(
            (f'def f(n: "trt.Net"):\n    n.get_layer({given})', "TensorRT 2 has Net.get_layer with other parameters")
            for given in ("", "0, 1", "at=0", "0, index=1")
        ),
        ("class M(trt.Monitor):\n    def step(self, phase): ...", "has Monitor.step with other parameters"),
    ],
)
def test_what_a_version_does_not_have_is_said_with_its_place(tmp_path, code, reason):
    (sentence,) = sentences(tmp_path, code)
    assert reason in sentence


@pytest.mark.parametrize("call", ["n.get_layer(0)", "n.get_layer(index=0)"])
def test_a_call_as_the_signature_has_it_is_right(tmp_path, call):
    assert sentences(tmp_path, f'def f(n: "trt.Net"):\n    {call}') == []


def test_what_is_looked_up_first_counts_where_it_is(tmp_path):
    code = 'def f():\n    kind = getattr(trt, "New", None)\n    return kind and kind.VALUE'
    assert sentences(tmp_path, code) == []
    assert sentences(tmp_path, code, New={"VALUE": VALUE}) == []
    assert sentences(tmp_path, code, New={}) == ["code.py:4: New.VALUE: TensorRT 2 has no New.VALUE"]


def test_a_word_that_a_version_does_not_have_matches_nothing_but_the_newest_has_to_have_it(tmp_path):
    (tmp_path / "code.py").write_text('def f(l: "trt.Layer"):\n    return l.type.name == "GEM"')
    held = Bindings("2", CLASSES)
    uses = collect_uses(tmp_path, held)
    assert find_lacks(uses, held) == []
    assert [lack.use.name for lack in find_lacks(uses, held, is_newest=True)] == ["Kind.GEM"]
    assert render_table(uses, {"2": held}).splitlines()[2:] == [
        "| `Kind.GEM` | matches nothing |  |",
        "| `Layer.type` | fails | yes |",
    ]


def test_signatures_are_read_from_what_pybind11_writes():
    text = (
        "go(*args, **kwargs)\nOverloaded function.\n\n"
        "1. go(self: tensorrt_bindings.tensorrt.A, at: Tuple[int, int]) -> tensorrt_bindings.tensorrt.B\n\n    Text.\n"
        "2. go(self: tensorrt.A, at: tensorrt.E = <E.ONE: 0>, n: int = 1) -> None\n"
    )
    assert parse_signatures(text) == [
        {"parameters": [{"name": "self", "optional": False}, {"name": "at", "optional": False}], "returns": "B"},
        {
            "parameters": [
                {"name": "self", "optional": False},
                {"name": "at", "optional": True},
                {"name": "n", "optional": True},
            ],
            "returns": "None",
        },
    ]
    assert parse_signatures("Initialize self.  See help(type(self)) for accurate signature.") == []


def test_where_no_index_answers_the_reason_is_one_line_and_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(BindingsMissingError, match=r"tensorrt-cu12-bindings==11.4.0.106 cannot be downloaded: ") as err:
        fetch_bindings("11.4.0.106", tmp_path)
    assert "\n" not in str(err.value)
    assert list(tmp_path.iterdir()) == []


def test_a_wheel_of_another_hash_is_refused(tmp_path, monkeypatch):
    lock = tmp_path / "bindings.txt"
    lock.write_text(f"# a comment\ncolored==2.3.1 \\\n    --hash=sha256:{'0' * 64}\n")
    monkeypatch.setattr(bindings_module, "LOCK", lock)
    assert bindings_module.read_pins() == {"2.3.1": f"colored==2.3.1      --hash=sha256:{'0' * 64}"}
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "colored-2.3.1-py3-none-any.whl").write_bytes(b"a wheel of somebody else")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    with pytest.raises(BindingsMissingError, match=r"colored==2\.3\.1 cannot be downloaded"):
        fetch_bindings("2.3.1", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_where_there_is_no_compiler_the_reason_says_so_and_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BindingsMissingError, match="cannot be compiled"):
        make_libraries("11.4.0.106", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_probe_is_a_program_of_its_own(tmp_path):
    (tmp_path / "fake.py").write_text("__version__ = '9'\nclass A:\n    def go(self):\n        'go(self: A) -> int'\n")
    command = [sys.executable, str(bindings_module.PROBE), "fake", str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert '"version": "9"' in answer.stdout
    assert '"returns": "int"' in answer.stdout
