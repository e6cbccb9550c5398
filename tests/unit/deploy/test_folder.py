"""A base is written whole or not at all, and over nobody's work."""

import errno
from pathlib import Path

import pytest
from prep_triton.deploy.base import plan_base
from prep_triton.deploy.folder import save_base
from prep_triton.deploy.request import DeploymentSpec
from prep_triton.errors import DiskFullError, SpecError, WorkspaceError

from tests.fakes.served_release import make_entry, make_plan, make_release

FLEET = make_release(make_entry("bert", make_plan("t4"), make_plan("l4")))


def plan(release=None, **choices):
    return plan_base(release or make_release(), DeploymentSpec(**choices))


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_folder_holds_the_base_and_nothing_else(tmp_path: Path):
    base = plan()
    written = save_base(base, tmp_path / "deploy")
    assert contents(tmp_path / "deploy") == base.files
    assert {path.name for path in written} == set(base.files)


def test_base_replaces_its_own_earlier_one_and_what_that_alone_had(tmp_path: Path):
    save_base(plan(FLEET), tmp_path)
    base = plan(FLEET, gpus=["t4"])
    save_base(base, tmp_path)
    assert contents(tmp_path) == base.files


def test_files_of_others_stay(tmp_path: Path):
    (tmp_path / "secret.yaml").write_text("kind: Secret\n")
    (tmp_path / "notes.md").write_bytes(b"\xff")
    save_base(plan(), tmp_path)
    assert (tmp_path / "secret.yaml").read_text() == "kind: Secret\n"
    assert (tmp_path / "notes.md").read_bytes() == b"\xff"


@pytest.mark.parametrize("content", [b"kind: Service\n", b"\xff\xfe", b""], ids=["yaml", "binary", "empty"])
def test_file_that_prep_did_not_write_is_not_overwritten(tmp_path: Path, content: bytes):
    (tmp_path / "service.yaml").write_bytes(content)
    with pytest.raises(SpecError, match=r"service\.yaml was not written by prep") as message:
        save_base(plan(), tmp_path)
    assert "--force" in message.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["service.yaml"]


def test_file_that_was_changed_is_not_overwritten(tmp_path: Path):
    save_base(plan(), tmp_path)
    path = tmp_path / "service.yaml"
    path.write_text(path.read_text() + "# mine\n")
    before = contents(tmp_path)
    with pytest.raises(SpecError, match=r"service\.yaml was changed after prep wrote it"):
        save_base(plan(replicas="2,3"), tmp_path)
    assert contents(tmp_path) == before


def test_force_overwrites(tmp_path: Path):
    (tmp_path / "service.yaml").write_text("kind: Service\n")
    base = plan()
    save_base(base, tmp_path, force=True)
    assert contents(tmp_path) == base.files


def test_changed_file_that_is_no_longer_needed_stays(tmp_path: Path):
    save_base(plan(FLEET), tmp_path)
    path = tmp_path / "deployment-l4.yaml"
    path.write_text(path.read_text() + "# mine\n")
    save_base(plan(FLEET, gpus=["t4"]), tmp_path)
    assert path.read_text().endswith("# mine\n")
    assert not (tmp_path / "podmonitoring-l4.yaml").exists()


def test_full_disk_leaves_the_earlier_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save_base(plan(), tmp_path)
    before = contents(tmp_path)
    write, number = Path.write_text, 0

    def fill(self: Path, *arguments, **options) -> int:
        nonlocal number
        number += 1
        if number == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", fill)
    with pytest.raises(DiskFullError) as message:
        save_base(plan(replicas="2,3"), tmp_path)
    assert "--output" in message.value.hint
    assert contents(tmp_path) == before


def test_file_in_the_place_of_the_folder_is_refused(tmp_path: Path):
    (tmp_path / "deploy").write_text("")
    with pytest.raises(WorkspaceError) as message:
        save_base(plan(), tmp_path / "deploy")
    assert "--output" in message.value.hint
