"""Has the real server check whether it accepts the configurations that we write."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from prep_triton.errors import PrepError
from prep_triton.spec import ServingSpec, build_spec
from prep_triton.triton.config import render_config
from prep_triton.triton.config.server_arguments import CACHE, RATE_LIMIT
from prep_triton.triton.config.warmup import write_warmup_files
from prep_triton.triton.server.installation import prepare_installation
from prep_triton.triton.server.process import run_triton

from scripts.benchmarks.records import INPUTS
from scripts.benchmarks.serving_configs import build_config
from scripts.benchmarks.serving_specs import DrawnRequest, drawn_model, drawn_requests

NO_BACKEND = "unable to find backend library for backend 'tensorrt'"
# Stands where the TensorRT backend would be, so that the server checks what comes after its look for one.
STAND_IN = """
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        return [pb.InferenceResponse([]) for _ in requests]
"""


@dataclass(frozen=True)
class Verdicts:
    """What became of drawn requests: `third` names each that we wrote and the server refused, and why.

    Of those accepted, `loaded` became ready on a server; the rest were accepted up to the missing backend.
    """

    accepted: int
    refused: int
    loaded: int
    third: tuple[str, ...]

    @property
    def drawn(self) -> int:
        """How many requests were drawn."""
        return self.accepted + self.refused + len(self.third)


def check_specs(count: int, seed: int, *, loaded: int = 40) -> Verdicts:
    """Draw requests and have the server check each that we do not refuse.

    Args:
        count: How many requests to draw.
        seed: Which ones.
        loaded: How many of the accepted to load on a server that has all backends, too.
    """
    with TemporaryDirectory(prefix="prep-test-") as folder:
        repository = Path(folder)
        written, refused = write_drawn(repository, draw_requests(count, seed))
        third = _check_plans(repository, [name for name, drawn in written.items() if drawn.is_plan])
        graphs = [name for name, drawn in written.items() if not drawn.is_plan]
        plans = [name for name in written if name not in graphs and name not in third]
        chosen = [*graphs, *plans[:: max(1, len(plans) // max(1, loaded - len(graphs)))]]
        third |= _check_loaded({name: written[name] for name in chosen})
    message = tuple(f"{name} {written[name].values}: {reason}" for name, reason in third.items())
    return Verdicts(len(written) - len(third), refused, len([name for name in chosen if name not in third]), message)


def draw_requests(count: int, seed: int) -> list[DrawnRequest]:
    """Draw requests, the same ones for the same seed."""
    drawn: list[DrawnRequest] = []

    @seeded(seed)
    @settings(
        max_examples=count,
        database=None,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(drawn_requests())
    def draw(request: DrawnRequest) -> None:
        drawn.append(request)

    draw()
    return drawn


def write_drawn(repository: Path, requests: Sequence[DrawnRequest]) -> tuple[dict[str, DrawnRequest], int]:
    """Write an entry for each request that we accept; return them by name, and how many were refused."""
    repository.mkdir(exist_ok=True)
    written = {}
    for index, drawn in enumerate(requests):
        name = f"entry-{index}"
        try:
            serving = build_spec(ServingSpec, drawn.values, where="a test")
            config = build_config(name, drawn.artifact, serving)
        except PrepError as err:
            assert err.hint
            continue
        write_entry(repository / name, drawn, config)
        written[name] = drawn
    return written, len(requests) - len(written)


def write_entry(folder: Path, drawn: DrawnRequest, config: Any) -> None:
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(render_config(config), encoding="utf-8")
    for plan in config.cc_model_filenames.values():
        (folder / "1" / plan).write_bytes(b"no plan")
    if not drawn.is_plan:
        (folder / "1" / "model.onnx").write_bytes(drawn_model().path("model.onnx").read_bytes())
    lengths = sorted({sample.inputs[INPUTS[0].name].dims[0] for sample in config.model_warmup})
    if lengths:
        write_warmup_files(folder, drawn_model().path("reference.npz"), INPUTS, lengths)


def _check_plans(repository: Path, names: Sequence[str]) -> dict[str, str]:
    """Return which plans a server without the TensorRT backend refuses for another reason than that."""
    with run_triton(str(repository), entries=names) as server:
        assert not server.loaded
        return {name: reason for name, reason in server.failures.items() if NO_BACKEND not in reason}


def _check_loaded(chosen: dict[str, DrawnRequest]) -> dict[str, str]:
    """Return which entries do not become ready on a server that has every backend, a rate limiter and a cache."""
    with TemporaryDirectory(prefix="prep-test-") as folder:
        repository, installed = Path(folder, "repository"), Path(folder, "installed")
        installed.mkdir()
        for name, drawn in chosen.items():
            serving = build_spec(ServingSpec, drawn.values, where="a test")
            config = build_config(name, drawn.artifact, serving)
            write_entry(repository / name, drawn, without_gpu(config))
        # All stay loaded: this server may crash where one is unloaded while the next is loading.
        arguments = [RATE_LIMIT, CACHE, f"--backend-directory={lay_out_backends(installed)}"]  # the last one holds
        with run_triton(str(repository), entries=list(chosen), arguments=arguments) as server:
            return dict(server.failures)


def without_gpu(config: Any) -> Any:
    """Put a configuration's instances on the CPU's own provider, where any server can check the rest of it.

    The resources are given a name of the entry's own: all entries of a server share them.
    """
    for group in config.instance_group:
        group.kind = group.KIND_CPU
        group.gpus.clear()
        for resource in group.rate_limiter.resources:
            resource.name = f"{config.name}-{resource.name}"
    config.optimization.execution_accelerators.ClearField("cpu_execution_accelerator")
    return config


def lay_out_backends(folder: Path) -> Path:
    """Lay out the backends of this machine's server in a folder, with a Python backend in the TensorRT backend's place.

    Returns:
        The folder that ``--backend-directory`` takes.
    """
    prepare_installation(folder, shm_prefix=f"{folder.name}-")
    stand_in = folder / "backends" / "tensorrt" / "model.py"
    stand_in.parent.mkdir()
    stand_in.write_text(STAND_IN, encoding="utf-8")
    return folder / "backends"
