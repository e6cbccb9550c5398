import importlib.util
import logging

import pytest
from prep_triton.engine import builders
from prep_triton.engine.builders import find_builder_problems, has_nvidia_driver, log_choice, resolve_builder
from prep_triton.errors import EngineError


@pytest.fixture
def machine(monkeypatch):
    """Pretend what is installed and whether a driver runs."""

    def pretend(*installed, driver=False):
        log_choice.cache_clear()
        there = {*installed, "polygraphy"}
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in there else None)
        monkeypatch.setattr(builders, "has_nvidia_driver", lambda: driver)
        monkeypatch.setattr(builders, "_find_version", lambda _: "1.2.3")

    return pretend


def test_auto_takes_tensorrt_where_it_is_usable(machine, caplog):
    machine("tensorrt", "tensorrt_rtx", driver=True)
    with caplog.at_level(logging.INFO):
        builder = resolve_builder("auto", find_builder_problems())
    assert (builder.name, builder.module, builder.version) == ("tensorrt", "tensorrt", "1.2.3")
    assert "a plan for Triton's TensorRT backend" in caplog.text


def test_auto_takes_rtx_without_a_driver_and_says_what_that_means_once(machine, caplog):
    machine("tensorrt", "tensorrt_rtx")
    with caplog.at_level(logging.INFO):
        builders_taken = {resolve_builder("auto", find_builder_problems()).name for _ in range(3)}
    assert builders_taken == {"tensorrt-rtx"}
    assert caplog.text.count("Triton's TensorRT backend does not load it") == 1
    assert "there is no NVIDIA driver" in caplog.text


def test_auto_with_nothing_installed_is_refused(machine):
    machine()
    with pytest.raises(EngineError, match=r"no builder can be used here: for tensorrt, .*; for tensorrt-rtx") as caught:
        resolve_builder("auto", find_builder_problems())
    assert "pip install 'prep-triton[engine]'" in caught.value.hint


@pytest.mark.parametrize(
    ("installed", "reason"), [((), "is not installed"), (("tensorrt",), "there is no NVIDIA driver")]
)
def test_tensorrt_is_refused_where_it_is_not_usable(machine, installed, reason):
    machine(*installed)
    with pytest.raises(EngineError, match=f"builder tensorrt cannot be used here: .*{reason}") as caught:
        resolve_builder("tensorrt", find_builder_problems())
    assert "prep-triton[tensorrt]" in caught.value.hint
    assert "--builder tensorrt-rtx" in caught.value.hint


def test_rtx_is_refused_where_it_is_not_installed(machine):
    machine("tensorrt", driver=True)
    with pytest.raises(EngineError, match="builder tensorrt-rtx cannot be used here") as caught:
        resolve_builder("tensorrt-rtx", find_builder_problems())
    assert "pip install 'prep-triton[engine]'" in caught.value.hint


def test_rtx_is_taken_where_it_was_asked_for(machine):
    machine("tensorrt", "tensorrt_rtx", driver=True)
    assert resolve_builder("tensorrt-rtx", find_builder_problems()).name == "tensorrt-rtx"


def test_a_driver_is_known_by_its_device(tmp_path, monkeypatch):
    monkeypatch.setattr(builders, "_DRIVER_PATHS", (tmp_path / "nvidiactl",))
    assert not has_nvidia_driver()
    (tmp_path / "nvidiactl").touch()
    assert has_nvidia_driver()


def test_a_missing_distribution_has_no_version(monkeypatch):
    monkeypatch.setitem(builders._DISTRIBUTIONS, "tensorrt", ("no-such-distribution",))
    assert builders._find_version("tensorrt") is None
