"""The workspace: same key, same artifact; nothing half-written; several runs at once."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_triton import integrity
from prep_triton import manifest as manifest_module
from prep_triton.artifact import Artifact
from prep_triton.errors import DiskFullError, WorkspaceBusyError, WorkspaceError
from prep_triton.files import digest_file, write_atomically
from prep_triton.layout import MANIFEST_NAME
from prep_triton.manifest import describe_change, load_artifact, record_files
from prep_triton.workspace import NotMadeError, Recipe, Workspace


def recipe(**spec: Any) -> Recipe:
    return Recipe(stage="export", name="tiny", spec=spec, tools={"torch": "2"})


def write_model(folder: Path) -> Mapping[str, Any]:
    (folder / "model.onnx").write_bytes(b"weights")
    return {}


def refuse(folder: Path) -> Mapping[str, Any]:
    raise AssertionError("made again")


def test_an_artifact_is_made_once_and_found_afterwards(workspace: Workspace):
    first = workspace.produce(recipe(opset=20), Artifact, write_model)
    second = workspace.produce(recipe(opset=20), Artifact, refuse)
    assert (first.reused, second.reused) == (False, True)
    assert second.artifact == first.artifact
    assert second.artifact.path("model.onnx").read_bytes() == b"weights"
    assert second.artifact.files["model.onnx"].size == 7


def test_another_spec_tool_or_input_is_another_artifact(workspace: Workspace):
    keys = {
        recipe(opset=20).key,
        recipe(opset=21).key,
        Recipe(stage="export", name="tiny", spec={"opset": 20}, tools={"torch": "3"}).key,
        Recipe(stage="export", name="tiny", spec={"opset": 20}, tools={"torch": "2"}, inputs={"model": "x"}).key,
        Recipe(stage="engine", name="tiny", spec={"opset": 20}, tools={"torch": "2"}).key,
    }
    assert len(keys) == 5


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.none(), max_size=5))
def test_a_key_does_not_depend_on_the_order_of_the_spec(spec: dict[str, Any]):
    assert recipe(a=spec).key == recipe(a=dict(reversed(spec.items()))).key


def test_the_current_artifact_follows_the_last_one_made_or_found(workspace: Workspace):
    old = workspace.produce(recipe(opset=20), Artifact, write_model).artifact
    new = workspace.produce(recipe(opset=21), Artifact, write_model).artifact
    assert workspace.current("export", "tiny", Artifact) == new
    workspace.produce(recipe(opset=20), Artifact, refuse)
    assert workspace.current("export", "tiny", Artifact) == old
    assert workspace.list_current("export", Artifact) == [old]
    assert workspace.current("export", "absent", Artifact) is None


def test_a_failed_stage_leaves_nothing(workspace: Workspace):
    def fail(folder: Path) -> Mapping[str, Any]:
        (folder / "model.onnx").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workspace.produce(recipe(), Artifact, fail)
    assert [path for path in workspace.root.rglob("*") if path.is_file() and "locks" not in path.parts] == []
    assert workspace.find(recipe(), Artifact) is None


def test_a_damaged_artifact_is_made_again(workspace: Workspace):
    artifact = workspace.produce(recipe(), Artifact, write_model).artifact
    artifact.path("model.onnx").write_bytes(b"short")
    assert workspace.find(recipe(), Artifact) is None
    assert not workspace.produce(recipe(), Artifact, write_model).reused


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"schema": 99}', '{"schema": 1, "name": 3}'])
def test_a_damaged_manifest_is_no_artifact(workspace: Workspace, content: str):
    artifact = workspace.produce(recipe(), Artifact, write_model).artifact
    artifact.path(MANIFEST_NAME).write_text(content)
    assert workspace.find(recipe(), Artifact) is None
    with pytest.raises(WorkspaceError, match="does not hold a complete artifact") as caught:
        load_artifact(artifact.folder, Artifact)
    assert caught.value.hint


def flip_a_byte(path: Path) -> None:
    """Damage a file in place: the same size and the same time of modification."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_file_damaged_in_place_counts_as_absent_is_named_and_made_again(workspace: Workspace, caplog):
    path = workspace.produce(recipe(), Artifact, write_model).artifact.path("model.onnx")
    flip_a_byte(path)
    assert workspace.current("export", "tiny", Artifact) is None
    assert workspace.list_kept("export", "tiny", Artifact) == []
    assert [record.getMessage() for record in caplog.records] == [
        f"{path} is damaged: its digest is not the one in its manifest; it counts as absent"
    ]
    damage = workspace.find_damaged("export", "tiny")
    assert damage is not None
    assert damage.artifact is not None
    with pytest.raises(NotMadeError):
        Workspace(workspace.root, read_only=True).produce(recipe(), Artifact, refuse)
    assert not workspace.produce(recipe(), Artifact, write_model).reused
    assert path.read_bytes() == b"weights"
    assert workspace.find_damaged("export", "tiny") is None
    assert workspace.current("export", "tiny", Artifact) is not None


def test_a_file_is_digested_once_until_it_is_touched(workspace: Workspace, monkeypatch: pytest.MonkeyPatch):
    digested: list[str] = []

    def digest(path: Path) -> str:
        digested.append(path.name)
        return digest_file(path)

    monkeypatch.setattr(integrity, "digest_file", digest)
    artifact = workspace.produce(recipe(), Artifact, write_model).artifact
    workspace.produce(recipe(), Artifact, refuse)
    assert workspace.current("export", "tiny", Artifact) is not None
    assert digested == []
    os.utime(artifact.path("model.onnx"))
    for _ in range(2):
        assert Workspace(workspace.root).find(recipe(), Artifact) is not None
    assert digested == ["model.onnx"]
    moved = workspace.root.with_name("copied")
    shutil.copytree(workspace.root, moved)
    for _ in range(2):
        assert Workspace(moved).find(recipe(), Artifact) is not None
    assert digested == ["model.onnx"] * 2


@pytest.mark.parametrize("marks", [b"", b"\xff", b"[]", b'{"model.onnx": 3}', b"[" * 100_000])
def test_damaged_marks_only_cost_a_digest(workspace: Workspace, marks: bytes):
    workspace.produce(recipe(), Artifact, write_model)
    (path,) = (workspace.root / "verified").rglob("*.json")
    path.write_bytes(marks)
    assert workspace.produce(recipe(), Artifact, refuse).reused


def make_folder(pointer: Path) -> None:
    (pointer / "inner").mkdir(parents=True)


DAMAGED_POINTERS = {
    "no text": lambda pointer: pointer.write_bytes(b"\xff\xfe\x00"),
    "empty": lambda pointer: pointer.write_bytes(b""),
    "too long": lambda pointer: pointer.write_bytes(b"a" * 100_000),
    "a path": lambda pointer: pointer.write_bytes(b"../other/0123456789abcdef"),
    "of what is not there": lambda pointer: pointer.write_bytes(b"0123456789abcdef"),
    "a folder": make_folder,
    "a link to nothing": lambda pointer: pointer.symlink_to("nowhere"),
    "a link to itself": lambda pointer: pointer.symlink_to(pointer.name),
    "a pipe": os.mkfifo,
}


@pytest.mark.parametrize("damage", DAMAGED_POINTERS.values(), ids=DAMAGED_POINTERS)
def test_a_damaged_pointer_counts_as_absent_and_is_written_again(workspace: Workspace, damage, caplog):
    artifact = workspace.produce(recipe(), Artifact, write_model).artifact
    pointer = workspace.root / "export" / "tiny" / "current"
    pointer.unlink()
    damage(pointer)
    assert workspace.list_current("export", Artifact) == []
    assert f"{pointer} is damaged" in caplog.text
    assert workspace.produce(recipe(), Artifact, refuse).reused
    assert workspace.current("export", "tiny", Artifact) == artifact


def nest(levels: int) -> str:
    return '{"schema": 1, "name": "tiny", "spec": ' + '{"a":' * levels + "1" + "}" * (levels + 1)


@pytest.mark.parametrize(
    "content",
    [
        nest(100_000),
        nest(500),
        "[" * 100_000,
        "\ud800",
        "1" * 10_000,
        '{"schema": 1, "name": "tiny"}',
        '{"schema": {}}',
    ],
    ids=["too deep", "deep", "brackets", "surrogate", "long number", "of no key", "schema"],
)
def test_a_manifest_of_the_wrong_form_counts_as_absent_and_is_written_again(workspace: Workspace, content, caplog):
    artifact = workspace.produce(recipe(), Artifact, write_model).artifact
    artifact.path(MANIFEST_NAME).write_text(content, encoding="utf-8", errors="surrogatepass")
    assert workspace.current("export", "tiny", Artifact) is None
    assert str(artifact.folder) in caplog.text
    assert not workspace.produce(recipe(), Artifact, write_model).reused
    assert workspace.current("export", "tiny", Artifact) is not None


def test_a_full_disk_is_told_and_leaves_nothing(workspace: Workspace):
    def fill(folder: Path) -> Mapping[str, Any]:
        (folder / "model.onnx").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFullError, match="no space is left") as caught:
        workspace.produce(recipe(), Artifact, fill)
    assert "--workspace" in caught.value.hint
    assert not list(workspace.root.rglob("model.onnx"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is a Linux device")
def test_a_really_full_device_is_told(workspace: Workspace):
    def fill(folder: Path) -> Mapping[str, Any]:
        with Path("/dev/full").open("wb", buffering=0) as stream:
            stream.write(b"x")
        return {}

    with pytest.raises(DiskFullError):
        workspace.produce(recipe(), Artifact, fill)


def test_a_workspace_below_a_file_is_refused_with_a_hint(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match=r"cannot be (read or )?written") as caught:
        Workspace(tmp_path / "file" / "build").produce(recipe(), Artifact, write_model)
    assert "--workspace" in caught.value.hint


def test_a_read_only_workspace_finds_but_never_makes(workspace: Workspace):
    planner = Workspace(workspace.root, read_only=True)
    with pytest.raises(NotMadeError) as caught:
        planner.produce(recipe(), Artifact, refuse)
    assert caught.value.recipe == recipe()
    assert not workspace.root.exists()
    workspace.produce(recipe(), Artifact, write_model)
    assert planner.produce(recipe(), Artifact, refuse).reused


def test_two_runs_at_once_make_an_artifact_once(workspace: Workspace):
    calls: list[str] = []
    began = threading.Event()

    def make_slowly(folder: Path) -> Mapping[str, Any]:
        began.set()
        calls.append("first")
        threading.Event().wait(0.3)
        return write_model(folder)

    first = threading.Thread(target=workspace.produce, args=(recipe(), Artifact, make_slowly))
    first.start()
    began.wait()
    second = Workspace(workspace.root).produce(recipe(), Artifact, refuse)
    first.join()
    assert second.reused
    assert calls == ["first"]


def test_a_run_that_waits_too_long_is_told_who_holds_the_workspace(workspace: Workspace):
    impatient = Workspace(workspace.root, lock_timeout_s=0.05)

    def make_inside(folder: Path) -> Mapping[str, Any]:
        with pytest.raises(WorkspaceBusyError, match="another run has held export tiny") as caught:
            impatient.produce(recipe(), Artifact, refuse)
        assert "--workspace" in caught.value.hint
        return write_model(folder)

    assert not workspace.produce(recipe(), Artifact, make_inside).reused


def test_kill_minus_9_in_the_middle_leaves_nothing_that_a_rerun_takes_for_finished(workspace: Workspace):
    code = f"""
        import time
        from pathlib import Path
        from prep_triton.artifact import Artifact
        from prep_triton.workspace import Recipe, Workspace

        def make(folder):
            (folder / "model.onnx").write_bytes(b"half")
            print("writing", flush=True)
            time.sleep(60)

        recipe = Recipe(stage="export", name="tiny", spec={{}}, tools={{"torch": "2"}})
        Workspace(Path({str(workspace.root)!r})).produce(recipe, Artifact, make)
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "writing\n"
        child.send_signal(signal.SIGKILL)
    assert workspace.find(recipe(), Artifact) is None
    again = workspace.produce(recipe(), Artifact, write_model)
    assert not again.reused
    assert again.artifact.path("model.onnx").read_bytes() == b"weights"
    assert not list(workspace.root.rglob(".staging-*"))


def test_an_atomic_write_replaces_the_whole_file_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    target = tmp_path / "pointer"
    write_atomically(target, b"old")

    def fail(fd: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="full"):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_large_file_that_was_not_touched_since_is_digested_only_on_request(tmp_path: Path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"right")
    expected, written_ns = record_files(tmp_path)["model.onnx"], path.stat().st_mtime_ns
    path.write_bytes(b"wrong")
    os.utime(path, ns=(written_ns, written_ns))
    assert describe_change(path, expected, written_ns=written_ns) is not None
    monkeypatch.setattr(manifest_module, "DIGEST_LIMIT_BYTES", 4)
    assert describe_change(path, expected, written_ns=written_ns) is None
    for since_ns, digest_all in ((written_ns - 1, False), (written_ns, True)):
        change = describe_change(path, expected, written_ns=since_ns, digest_all=digest_all)
        assert change is not None
        assert change.startswith("has sha256 ")
    path.write_bytes(b"longer")
    assert describe_change(path, expected, written_ns=written_ns) == "has 6 bytes, the manifest says 5"
