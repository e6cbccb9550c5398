"""What runs on the GPU: an engine is loaded, described, executed and timed.

Imported by the worker, after it has chosen a flavour. Needs an NVIDIA driver.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from prep_triton.engine.flavour import trt

WARM_UP_RUNS = 10


class EngineRequest(TypedDict):
    """What to do with engines of one builder.

    A feed is an .npz with one array for each input. `shapes` are (batch, sequence); `profiles` holds the
    optimization profile of each feed, or for each engine that of each shape.
    """

    task: str
    parent_pid: int
    builder: str
    engine_paths: list[str]
    profiles: list[list[int]]
    feed_paths: list[str]
    output_paths: list[str]
    shapes: list[list[int]]
    runs: int


def describe_engine(request: EngineRequest) -> dict[str, Any]:
    """Read from an engine and its inspector what the build did not record."""
    from prep_triton.engine.flavour import trt
    from prep_triton.engine.inspect import parse_engine_layers

    engine = load_engine(request["engine_paths"][0])
    message = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    facts: dict[str, Any] = {
        "kernels": engine.num_layers,
        "profiles": engine.num_optimization_profiles,
        "device_memory_bytes": engine.device_memory_size_v2,
        "refittable": engine.refittable,
        "weights_bytes": read_weights_bytes(engine),
    }
    try:
        layers = parse_engine_layers(message)
    except ValueError as err:
        return facts | {"inspector": str(err)}
    return facts | {
        "layers": layers.layers,
        "gemm_kernels": layers.gemms,
        "fused_attention": layers.fused_attention,
        "io_tensors": layers.io_tensors,
    }


def read_weights_bytes(engine: "trt.ICudaEngine") -> int | None:
    """Return the size of an engine's weights; None where this TensorRT does not know (before 10.14)."""
    from prep_triton.engine.flavour import trt

    stat = getattr(trt, "EngineStat", None)
    if stat is None:
        return None
    return int(engine.get_engine_stat(stat.TOTAL_WEIGHTS_SIZE))  # type: ignore[attr-defined, unused-ignore]


def execute_engine(request: EngineRequest) -> dict[str, Any]:
    """Infer feeds; each output file is an .npz with one array for each output."""
    import numpy as np
    from polygraphy.backend.trt import TrtRunner

    with TrtRunner(load_engine(request["engine_paths"][0])) as runner:
        for feed_path, output_path, profile in zip(
            request["feed_paths"], request["output_paths"], request["profiles"][0], strict=True
        ):
            runner.set_profile(profile)
            with np.load(feed_path) as feed:
                outputs = runner.infer({name: np.ascontiguousarray(feed[name]) for name in feed.files})
            np.savez(output_path, **outputs)
    return {}


def measure_engines(request: EngineRequest) -> dict[str, Any]:
    """Time engines against each other, run by run in turn.

    Inputs and outputs stay on the device. A run is measured on the host from enqueueing to the end of the
    stream; what a BERT computes does not depend on its ids, so every id is 1 and nothing is masked.

    Returns:
        ``latencies_ms``: for each engine, the median of each shape.
    """
    from polygraphy.backend.trt import TrtRunner

    medians: list[list[float]] = [[] for _ in request["engine_paths"]]
    with ExitStack() as stack:
        runners = [stack.enter_context(TrtRunner(load_engine(path))) for path in request["engine_paths"]]
        for position, (batch, sequence) in enumerate(request["shapes"]):
            feeds = []
            for runner, profiles in zip(runners, request["profiles"], strict=True):
                runner.set_profile(profiles[position])
                feeds.append(_put_ones_on_device(runner, (batch, sequence)))
            steps = [_bind(runner, feed) for runner, feed in zip(runners, feeds, strict=True)]
            for engine_medians, seconds in zip(medians, time_in_turn(steps, request["runs"]), strict=True):
                engine_medians.append(seconds * 1000)
    return {"latencies_ms": medians}


def time_in_turn(steps: Sequence[Callable[[], object]], runs: int) -> list[float]:
    """Return the median seconds of each step, after a warm-up; the steps take turns."""
    for _ in range(WARM_UP_RUNS):
        for step in steps:
            step()
    times: list[list[float]] = [[] for _ in steps]
    for _ in range(runs):
        for durations, step in zip(times, steps, strict=True):
            began = time.perf_counter()
            step()
            durations.append(time.perf_counter() - began)
    return [statistics.median(durations) for durations in times]


def load_engine(path: str) -> "trt.ICudaEngine":
    """Deserialize an engine; a version-compatible one brings host code, which is allowed."""
    from polygraphy.backend.trt import EngineFromBytes

    engine: trt.ICudaEngine = EngineFromBytes(Path(path).read_bytes())()
    return engine


def _bind(runner: Any, feed: dict[str, Any]) -> Callable[[], object]:
    return lambda: runner.infer(feed, check_inputs=False, copy_outputs_to_host=False)


def _put_ones_on_device(runner: Any, shape: tuple[int, int]) -> dict[str, Any]:
    import numpy as np
    from polygraphy.cuda import DeviceArray

    feed: dict[str, Any] = {}
    for name, metadata in runner.get_input_metadata(use_numpy_dtypes=False).items():
        ones: np.ndarray[Any, Any] = np.ones(shape, dtype=metadata.dtype.numpy())
        feed[name] = DeviceArray(shape=ones.shape, dtype=ones.dtype).copy_from(ones)
    return feed
