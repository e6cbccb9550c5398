"""File names are stated in layout.py alone, and what runs inside the server opens the same ones."""

import ast
from collections.abc import Iterator
from pathlib import Path

import prep_triton
from prep_triton import layout

PACKAGE = Path(prep_triton.__file__).parent
INSIDE_SERVER = PACKAGE / "triton" / "inside_server"
FILE_NAMES = {value for key, value in vars(layout).items() if key.endswith("_NAME") and "." in value}


def find_strings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def is_file_name(text: str) -> bool:
    return bool(text) and " " not in text and Path(text).suffix in {Path(name).suffix for name in FILE_NAMES} - {""}


def test_no_other_file_states_a_name_of_the_layout() -> None:
    stated = {
        f"{path.relative_to(PACKAGE)}: {text}"
        for path in PACKAGE.rglob("*.py")
        if path.name != "layout.py" and not path.is_relative_to(INSIDE_SERVER)
        for text in find_strings(path)
        if Path(text).name in FILE_NAMES and " " not in text
    }

    assert not stated


def test_what_runs_inside_the_server_opens_the_files_that_are_written() -> None:
    opened = {text for path in INSIDE_SERVER.rglob("*.py") for text in find_strings(path) if is_file_name(text)}

    assert {"tokenizer.json", "labels.json", "model.onnx"} <= opened
    assert opened <= FILE_NAMES


def test_a_plan_is_named_after_its_compute_capability() -> None:
    assert layout.plan_name("7.5") == "model_sm75.plan"
    assert layout.plan_name("12.0") == "model_sm120.plan"


def test_the_weights_beside_a_graph_belong_to_it() -> None:
    names = ("model.onnx", "model.onnx.data", "model.onnxx", "reference.npz")

    assert [name for name in names if layout.is_graph_file(name)] == ["model.onnx", "model.onnx.data"]


def test_an_entrys_files_are_neither_hidden_nor_caches(tmp_path: Path) -> None:
    for name in ("1/model.py", "1/__pycache__/model.pyc", ".hidden/file", ".file", "config.pbtxt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "linked").symlink_to(tmp_path / "1")

    files = [path.relative_to(tmp_path).as_posix() for path in layout.walk_entry(tmp_path)]

    assert files == ["1/model.py", "config.pbtxt", "linked"]
    assert layout.list_names(tmp_path / "absent") == []
