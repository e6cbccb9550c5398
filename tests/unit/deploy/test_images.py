"""The images: what goes into them, and that nobody runs as root."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
IMAGES = (ROOT / "Dockerfile", ROOT / "configs" / "gke" / "nightly" / "Dockerfile")
IGNORED = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
NAMED = {line.removeprefix("!").rstrip("/") for line in IGNORED if line.startswith("!")}
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def read_steps(path: Path) -> list[str]:
    """The instructions of a Dockerfile, each on a line of its own."""
    return re.sub(
        r"\\\n\s*", "", re.sub(r"^#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    ).splitlines()


def list_copied(path: Path) -> set[str]:
    """What an image takes from the checkout."""
    copies = [step.split()[1:-1] for step in read_steps(path) if step.startswith("COPY ") and "--from=" not in step]
    return {name.rstrip("/") for names in copies for name in names}


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_image_is_nobodys_and_names_what_it_takes(path: Path):
    steps = read_steps(path)
    assert [step for step in steps if step.startswith("USER ")][-1] == "USER 1000:1000"
    assert "." not in list_copied(path)
    assert all((ROOT / name).exists() for name in list_copied(path))
    assert steps[0].startswith("ARG BASE=")  # by digest where it must be the same again
    assert any(re.fullmatch(r"FROM \$\{BASE\}( AS \w+)?", step) for step in steps)
    assert CPU_INDEX in path.read_text(encoding="utf-8")


def test_a_build_is_sent_what_the_images_take_alone():
    assert "*" in IGNORED
    taken = {name.split("/", maxsplit=1)[0] for path in IMAGES for name in list_copied(path)}
    assert taken == NAMED


def test_the_command_line_is_made_of_the_wheel_and_the_lock():
    steps = "\n".join(read_steps(IMAGES[0]))
    assert "pip wheel --no-cache-dir --no-deps" in steps
    assert "--no-deps --require-hashes -r /tmp/install/bare.txt" in steps
    assert steps.index("USER 1000:1000") < steps.index('ENTRYPOINT ["prep"]')
