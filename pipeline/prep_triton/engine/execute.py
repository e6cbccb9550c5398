"""Runs engines on the GPU of this machine, in a child process: outputs, and latencies."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prep_triton.artifact import Engine
from prep_triton.engine.child import run_worker
from prep_triton.engine.machine import Machine, detect_machine
from prep_triton.engine.profile import choose_profile
from prep_triton.errors import EngineError, SpecError
from prep_triton.layout import ENGINE_NAME
from prep_triton.scratch import scratch_folder

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray[Any, Any]]

DEFAULT_RUNS = 100


def find_execution_problem(engine: Engine, machine: Machine) -> str | None:
    """Say why a machine cannot run an engine, or None where it can."""
    if not machine.has_driver:
        return "there is no NVIDIA driver on this machine"
    if problem := machine.problems[engine.builder]:
        return problem
    here = {gpu.compute_capability for gpu in machine.gpus}
    if any(engine.runs_on(capability) for capability in here):
        return None
    return f"it was built for compute capability {engine.compute_capability}, here: {', '.join(sorted(here)) or 'none'}"


def run_engine(engine: Engine, feeds: "Sequence[Arrays]") -> "list[dict[str, np.ndarray[Any, Any]]]":
    """Infer on the GPU.

    Args:
        engine: An engine of the GPU that is here.
        feeds: For each run, INT64 [batch, sequence] arrays by input name.

    Returns:
        For each run, arrays by output name.

    Raises:
        EngineError: This machine cannot run the engine, or it failed.
        SpecError: No profile of the engine takes a feed's shape.
    """
    import numpy as np

    check_executable(engine, detect_machine())
    shapes = [_shape_of(feed) for feed in feeds]
    with scratch_folder("engine") as folder:
        feed_paths = [folder / f"feed{index}.npz" for index in range(len(feeds))]
        output_paths = [folder / f"output{index}.npz" for index in range(len(feeds))]
        for path, feed in zip(feed_paths, feeds, strict=True):
            np.savez(path, **dict(feed))
        _run_task(
            "execute",
            [engine],
            profiles=[[choose_profile(engine.profiles, shape) for shape in shapes]],
            feed_paths=[str(path) for path in feed_paths],
            output_paths=[str(path) for path in output_paths],
        )
        outputs = []
        for path in output_paths:
            with np.load(path) as arrays:
                outputs.append({name: arrays[name] for name in arrays.files})
    return outputs


def measure_latencies_ms(
    engines: Sequence[Engine],
    shapes: Sequence[tuple[int, int]],
    machine: Machine | None = None,
    *,
    runs: int = DEFAULT_RUNS,
) -> list[list[float]]:
    """Time engines of one builder against each other on the GPU, run by run in turn.

    Inputs and outputs stay on the device: transfers and Triton are not in it.

    Args:
        engines: Engines of one builder, for the GPU that is here.
        shapes: (batch, sequence) pairs.
        machine: What `detect_machine` says; looked up where None.
        runs: Timed runs of each engine and shape, after a warm-up.

    Returns:
        For each engine, the median milliseconds of each shape.

    Raises:
        EngineError: This machine cannot run an engine, or it failed.
        SpecError: An engine takes a shape in none of its profiles.
    """
    if len({engine.builder for engine in engines}) != 1:
        raise SpecError(
            f"engines of {sorted({engine.builder for engine in engines})} cannot be timed in one process",
            hint="build them with one --builder",
        )
    machine = machine or detect_machine()
    for engine in engines:
        check_executable(engine, machine)
    profiles = [[choose_profile(engine.profiles, shape) for shape in shapes] for engine in engines]
    result = _run_task("measure", engines, profiles=profiles, shapes=[list(shape) for shape in shapes], runs=runs)
    latencies: list[list[float]] = result["latencies_ms"]
    return latencies


def describe_engine(engine: Engine, machine: Machine | None = None) -> dict[str, Any]:
    """Load an engine on the GPU and describe it: what it says of itself, and what its inspector says.

    Args:
        engine: An engine of the GPU that is here.
        machine: What `detect_machine` says; looked up where None.

    Returns:
        Kernels, layers and GEMM kernels by precision, fused attention, weights and activation memory in
        bytes, profiles, and whether it can be refitted.

    Raises:
        EngineError: This machine cannot run the engine, or it cannot be loaded.
    """
    check_executable(engine, machine or detect_machine())
    return _run_task("describe", [engine])


def check_executable(engine: Engine, machine: Machine) -> None:
    """Refuse an engine that a machine cannot run.

    Raises:
        EngineError: With the reason.
    """
    if problem := find_execution_problem(engine, machine):
        raise EngineError(
            f"{engine.name} cannot run here: {problem}",
            hint=f"run on a machine with a GPU of compute capability {engine.compute_capability} and {engine.builder}",
        )


def _shape_of(feed: "Arrays") -> tuple[int, int]:
    batch, sequence = next(iter(feed.values())).shape
    return int(batch), int(sequence)


def _run_task(task: str, engines: Sequence[Engine], **fields: Any) -> dict[str, Any]:
    request = {
        "task": task,
        "builder": engines[0].builder,
        "engine_paths": [str(engine.path(ENGINE_NAME)) for engine in engines],
        "profiles": [],
        "feed_paths": [],
        "output_paths": [],
        "shapes": [],
        "runs": 1,
        **fields,
    }
    return run_worker(request, on_progress=lambda _: None)
