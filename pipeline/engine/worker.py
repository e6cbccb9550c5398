"""The child process that holds one TensorRT flavour: ``python -m pipeline.engine.worker``.

It reads one request (JSON) from stdin and writes events (JSON lines) to stdout; everything that the
builder says goes to stderr. It imports polygraphy and the builder, nothing else that is heavy.

Events: ``{"progress": 0.4}``; then ``{"built": {...}}``, ``{"failed": "<sentence>"}`` or
``{"os_error": [errno, text]}``.
"""

import contextlib
import ctypes
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict


class Request(TypedDict):
    """What to build; see `pipeline.engine.build` for how it is filled."""

    parent_pid: int
    builder: str
    onnx_path: str
    engine_path: str
    compute_capability: str
    profiles: list[dict[str, list[list[int]]]]
    opt: list[int]
    optimization_level: int | None
    workspace_limit_mib: int | None
    timing_cache_path: str | None


Emit = Callable[[dict[str, Any]], None]


def main() -> None:
    """Serve one request."""
    # The vendors' libraries may print: keep the real stdout for events alone.
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request: Request = json.load(sys.stdin)
    end_with_parent(request["parent_pid"])

    def emit(event: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):
            events.write(json.dumps(event) + "\n")
            events.flush()

    try:
        emit({"built": build(request, emit)})
    except OSError as err:
        emit({"os_error": [err.errno, str(err)]})
    except ImportError as err:
        emit({"failed": f"{request['builder']} cannot be imported: {err}"})
    except Exception as err:
        if type(err).__name__ != "PolygraphyException":  # polygraphy itself is imported after its environment is set
            raise
        emit({"failed": str(err).strip().splitlines()[0]})


def end_with_parent(parent_pid: int) -> None:
    """Make the kernel end this process when its parent dies, however it dies (prctl(2), PR_SET_PDEATHSIG)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before the line above
        os._exit(1)


def build(request: Request, emit: Emit) -> dict[str, Any]:
    """Parse, build, prove and write one engine.

    Returns:
        The network's inputs and outputs, the proof, and the builder's version.
    """
    is_rtx = request["builder"] == "tensorrt-rtx"
    if is_rtx:
        os.environ["POLYGRAPHY_USE_TENSORRT_RTX"] = "1"  # polygraphy reads it once, at its first import
    trt = importlib.import_module("tensorrt_rtx" if is_rtx else "tensorrt")
    from polygraphy.backend.trt import EngineBytesFromNetwork, NetworkFromOnnxPath
    from polygraphy.logger import G_LOGGER

    from pipeline.engine.inspect import proof_from_network

    G_LOGGER.module_severity = G_LOGGER.INFO
    builder, network, parser = NetworkFromOnnxPath(request["onnx_path"], strongly_typed=True)()
    batch, sequence = request["opt"]
    proof = proof_from_network(trt, network, (batch, sequence))
    config = create_config(trt, request, emit)
    engine = EngineBytesFromNetwork(
        (builder, network, parser), config=config, save_timing_cache=request["timing_cache_path"]
    )()
    if not is_rtx:
        proof = prove_with_inspector(trt, engine, proof)
    with Path(request["engine_path"]).open("wb") as stream:
        stream.write(memoryview(engine))
    return {
        "version": trt.__version__,
        "inputs": [describe_tensor(network.get_input(index)) for index in range(network.num_inputs)],
        "outputs": [describe_tensor(network.get_output(index)) for index in range(network.num_outputs)],
        "proof": proof.to_json(),
    }


def create_config(trt: Any, request: Request, emit: Emit) -> Any:
    """Describe the build to polygraphy: shapes, limits, target and progress."""
    from polygraphy.backend.trt import CreateConfig, Profile

    profiles = []
    for shapes in request["profiles"]:
        profile = Profile()
        for name, (low, opt, high) in shapes.items():
            profile.add(name, min=low, opt=opt, max=high)
        profiles.append(profile)
    settings: dict[str, Any] = {
        "profiles": profiles,
        "builder_optimization_level": request["optimization_level"],
        "progress_monitor": create_monitor(trt, emit),
    }
    if request["workspace_limit_mib"] is not None:
        settings["memory_pool_limits"] = {trt.MemoryPoolType.WORKSPACE: request["workspace_limit_mib"] << 20}
    cache_path = request["timing_cache_path"]
    if cache_path is not None and Path(cache_path).is_file():
        settings["load_timing_cache"] = cache_path
    if request["builder"] != "tensorrt-rtx":
        return CreateConfig(**settings)  # which also turns TF32 off
    from polygraphy.backend.tensorrt_rtx import CreateConfigRTX
    from polygraphy.backend.trt import PostprocessConfig

    major, minor = request["compute_capability"].split(".")
    config = CreateConfigRTX(compute_capabilities=[(int(major), int(minor))], **settings)

    def turn_tf32_off(builder: Any, network: Any, config: Any) -> None:  # noqa: ARG001 - polygraphy passes all three
        config.clear_flag(trt.BuilderFlag.TF32)  # who asks for FP32 gets FP32, not its 10-bit mantissa

    return PostprocessConfig(config, turn_tf32_off)


def create_monitor(trt: Any, emit: Emit) -> Any:
    """Turn the builder's nested phases (IProgressMonitor) into one fraction."""
    from pipeline.engine.progress import PhaseTree

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.tree = PhaseTree()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.tree.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if self.tree.complete(phase_name, step):
                emit({"progress": self.tree.fraction})
            return True  # go on building

        def phase_finish(self, phase_name: str) -> None:
            if self.tree.finish(phase_name):
                emit({"progress": self.tree.fraction})

    return Monitor()


def prove_with_inspector(trt: Any, engine: Any, proof: Any) -> Any:
    """Ask the built engine itself; the standard builder always has the GPU that this needs."""
    from polygraphy.backend.trt import get_trt_logger

    from pipeline.engine.inspect import proof_from_inspector

    loaded = trt.Runtime(get_trt_logger()).deserialize_cuda_engine(engine)
    if loaded is None:
        return proof
    told = loaded.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        return proof_from_inspector(told, proof)
    except (ValueError, KeyError, TypeError) as err:
        sys.stderr.write(f"[W] the engine inspector's answer cannot be read: {err}\n")
        return proof  # its method says that it is the network's


def describe_tensor(tensor: Any) -> dict[str, Any]:
    """Return a network tensor's name, type (Triton's word) and shape (-1 where dynamic)."""
    from pipeline.engine.inspect import DTYPE_WORDS

    word = DTYPE_WORDS.get(tensor.dtype.name, tensor.dtype.name)
    return {"name": tensor.name, "dtype": word, "shape": list(tensor.shape)}


if __name__ == "__main__":
    main()
