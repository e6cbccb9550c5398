"""The child process that holds one TensorRT flavour: ``python -m prep_triton.engine.worker``.

It reads one request (JSON) from stdin and writes events (JSON lines) to stdout; everything that the
builder says goes to stderr. It imports polygraphy and the builder, nothing else that is heavy.

Events: ``{"progress": 0.4}``; then ``{"done": {...}}``, ``{"failed": "<sentence>"}`` or
``{"os_error": [errno, text]}``.
"""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from prep_triton.child_process import end_with_parent
from prep_triton.engine.flavour import choose_flavour
from prep_triton.gpus import AMPERE_PLUS

if TYPE_CHECKING:
    from prep_triton.engine.flavour import trt
    from prep_triton.engine.inspect import Proof
    from prep_triton.engine.network import Gemm


class Request(TypedDict):
    """What to build; see `prep_triton.engine.request.render_request`."""

    task: str
    parent_pid: int
    builder: str
    onnx_path: str
    engine_path: str
    compute_capability: str
    profiles: list[dict[str, list[list[int]]]]
    weigh_at: list[int]
    optimization_level: int | None
    workspace_limit_mib: int | None
    version_compatible: bool
    hardware_compatible: str
    refit: bool
    strip_weights: bool
    timing_cache_path: str | None


Emit = Callable[[dict[str, Any]], None]


def main() -> None:
    """Serve one request."""
    # The vendors' libraries may print: keep the real stdout for events alone.
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request: Any = json.load(sys.stdin)
    end_with_parent(request["parent_pid"])

    def emit(event: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):
            events.write(json.dumps(event) + "\n")
            events.flush()

    try:
        emit({"done": serve(request, emit)})
    except OSError as err:
        emit({"os_error": [err.errno, str(err)]})
    except ImportError as err:
        emit({"failed": f"{request['builder']} cannot be imported: {err}"})
    except Exception as err:
        if type(err).__name__ != "PolygraphyException":  # polygraphy itself is imported after its environment is set
            raise
        emit({"failed": str(err).strip().splitlines()[0]})


def serve(request: Any, emit: Emit) -> dict[str, Any]:
    """Carry out a request: ``build``, ``describe``, ``execute`` or ``measure``."""
    choose_flavour(request["builder"])
    if request["task"] == "build":
        return build(request, emit)
    from prep_triton.engine import device

    tasks = {"describe": device.describe_engine, "execute": device.execute_engine, "measure": device.measure_engines}
    return tasks[request["task"]](request)


def build(request: Request, emit: Emit) -> dict[str, Any]:
    """Parse, build, prove and write one engine.

    Returns:
        The network's inputs and outputs, the proof, and the builder's version.
    """
    from polygraphy.backend.trt import EngineBytesFromNetwork, NetworkFromOnnxPath
    from polygraphy.logger import G_LOGGER

    from prep_triton.engine.flavour import trt
    from prep_triton.engine.inspect import proof_from_network

    G_LOGGER.module_severity = G_LOGGER.INFO
    network: trt.INetworkDefinition
    builder, network, parser = NetworkFromOnnxPath(request["onnx_path"], strongly_typed=True)()
    batch, sequence = request["weigh_at"]
    proof, gemms = proof_from_network(network, (batch, sequence))
    config = create_config(request, emit)
    engine = EngineBytesFromNetwork(
        (builder, network, parser), config=config, save_timing_cache=request["timing_cache_path"]
    )()
    if request["builder"] == "tensorrt":
        proof = prove_with_inspector(engine, proof, gemms)
    with Path(request["engine_path"]).open("wb") as stream:
        stream.write(memoryview(engine))
    return {
        "version": trt.__version__,
        "inputs": [describe_tensor(network.get_input(index)) for index in range(network.num_inputs)],
        "outputs": [describe_tensor(network.get_output(index)) for index in range(network.num_outputs)],
        "proof": proof.to_json(),
    }


def create_config(request: Request, emit: Emit) -> Any:
    """Describe the build to polygraphy: shapes, limits, target and progress."""
    from polygraphy.backend.trt import CreateConfig, PostprocessConfig, Profile

    from prep_triton.engine.flavour import trt

    profiles = []
    for shapes in request["profiles"]:
        profile = Profile()
        for name, (low, opt, high) in shapes.items():
            profile.add(name, min=low, opt=opt, max=high)
        profiles.append(profile)
    settings: dict[str, Any] = {"profiles": profiles, "progress_monitor": create_monitor(emit)}
    if request["workspace_limit_mib"] is not None:
        settings["memory_pool_limits"] = {trt.MemoryPoolType.WORKSPACE: request["workspace_limit_mib"] << 20}
    cache_path = request["timing_cache_path"]
    if cache_path is not None and Path(cache_path).is_file():
        settings["load_timing_cache"] = cache_path
    if request["builder"] == "tensorrt":
        return PostprocessConfig(CreateConfig(**settings), lambda _, __, config: set_plan_options(config, request))
    from polygraphy.backend.tensorrt_rtx import CreateConfigRTX

    major, minor = request["compute_capability"].split(".")
    config = CreateConfigRTX(compute_capabilities=[(int(major), int(minor))], **settings)
    return PostprocessConfig(config, lambda _, __, config: turn_tf32_off(config))


def turn_tf32_off(config: "trt.IBuilderConfig") -> None:
    """Let FP32 have its whole mantissa, not TF32's 10 bits."""
    from prep_triton.engine.flavour import trt

    config.clear_flag(trt.BuilderFlag.TF32)


def set_plan_options(config: "trt.IBuilderConfig", request: Request) -> None:
    """Set what the standard builder alone knows."""
    from prep_triton.engine.flavour import trt

    turn_tf32_off(config)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # the inspector names types and kernels
    if request["optimization_level"] is not None:
        config.builder_optimization_level = request["optimization_level"]
    if request["version_compatible"]:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if request["hardware_compatible"] == AMPERE_PLUS:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    if request["refit"]:
        config.set_flag(trt.BuilderFlag.REFIT)
    if request["strip_weights"]:
        config.set_flag(trt.BuilderFlag.STRIP_PLAN)
        if not request["refit"]:  # only refittable weights can be stripped; these come back as they were
            config.set_flag(trt.BuilderFlag.REFIT_IDENTICAL)


def create_monitor(emit: Emit) -> "trt.IProgressMonitor":
    """Turn the builder's nested phases (IProgressMonitor) into one fraction."""
    from prep_triton.engine.flavour import trt
    from prep_triton.engine.progress import PhaseTree

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, unused-ignore]
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


def prove_with_inspector(serialized: Any, proof: "Proof", gemms: "Sequence[Gemm]") -> "Proof":
    """Correct the proof by the engine's inspector; the standard builder always has the GPU that this needs."""
    from polygraphy.backend.trt import get_trt_logger

    from prep_triton.engine.flavour import trt
    from prep_triton.engine.inspect import parse_engine_layers, proof_from_inspector

    runtime = trt.Runtime(get_trt_logger())
    runtime.engine_host_code_allowed = True  # a version-compatible plan brings its runtime
    engine = runtime.deserialize_cuda_engine(serialized)
    if engine is None:
        sys.stderr.write("[W] the plan cannot be loaded for inspection\n")
        return proof  # its method says that it is the network's
    message = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        return proof_from_inspector(parse_engine_layers(message), proof, gemms)
    except ValueError as err:
        sys.stderr.write(f"[W] the engine inspector's JSON cannot be read: {err}\n")
        return proof


def describe_tensor(tensor: "trt.ITensor") -> dict[str, Any]:
    """Return a network tensor's name, type (Triton's word) and shape (-1 where dynamic)."""
    from prep_triton.engine.network import read_sizes, triton_word

    return {"name": tensor.name, "dtype": triton_word(tensor), "shape": read_sizes(tensor.shape)}


if __name__ == "__main__":
    main()
