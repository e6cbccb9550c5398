"""Which Triton server this machine has, and how to start it.

In this order: the environment variable ``PREP_TRITONSERVER``, a `tritonserver` on PATH, the server inside the
`nvidia-pytriton` wheel. The wheel has the Python backend alone, so its ONNX Runtime and OpenVINO entries are served by
`onnxruntime_stand_in` and `openvino_stand_in` of `prep_triton.triton.inside_server`, which take the same configuration.
"""

import importlib.metadata
import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prep_triton.errors import ServerError
from prep_triton.extras import hint_to_install
from prep_triton.layout import PYTHON_MODEL_NAME

SERVER_VARIABLE = "PREP_TRITONSERVER"
WHEEL = "nvidia-pytriton"
# In the description of a server whose backends are not those of NVIDIA's container.
ON_STAND_IN = "on a stand-in"
_PYTHON_WITHOUT_WHEEL = (3, 13)  # its numpy has no wheel for it; pyproject.toml says so too
STUB_NAME = "triton_python_backend_stub"
STAND_IN_PATHS = {
    name: Path(__file__).parents[1] / "inside_server" / f"{name}_stand_in.py" for name in ("onnxruntime", "openvino")
}
STAND_IN_RULES_PATH = Path(__file__).parents[1] / "config" / "tensor_rules.py"


@dataclass(frozen=True)
class Installation:
    """A server that can be started.

    `flavour` is what to tell the user about it; `arguments` and `environment` are what it needs beyond
    the usual.
    """

    program_path: Path
    flavour: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def find_server() -> Path | None:
    """Return the user's own `tritonserver`, or None where only the wheel can help.

    Raises:
        ServerError: PREP_TRITONSERVER names no program.
    """
    chosen = os.environ.get(SERVER_VARIABLE)
    if chosen:
        program = shutil.which(chosen)
        if program is None:
            raise ServerError(
                f"{SERVER_VARIABLE} is {chosen}, which is not a program",
                hint=f"set {SERVER_VARIABLE} to the path of tritonserver, or unset it",
            )
        return Path(program).absolute()
    program = shutil.which("tritonserver")
    return Path(program).absolute() if program else None


def describe_server() -> str:
    """Return in one phrase which server `run_triton` would start; starts nothing.

    Raises:
        ServerError: There is none.
    """
    own = find_server()
    if own:
        return f"tritonserver at {own}"
    _find_wheel()
    return f"{WHEEL} wheel {importlib.metadata.version(WHEEL)}, ONNX Runtime and OpenVINO entries {ON_STAND_IN}"


def prepare_installation(folder: Path, *, shm_prefix: str) -> Installation:
    """Choose a server and lay out what it needs.

    Args:
        folder: An empty folder for the backend directory; must live as long as the server.
        shm_prefix: How the names of the Python backend's shared memory regions begin.

    Raises:
        ServerError: There is no server, or not one for this Python.
    """
    own = find_server()
    if own:
        return Installation(own, f"tritonserver at {own}")
    wheel = _find_wheel()
    backends = _lay_out_backends(wheel, folder / "backends")
    return Installation(
        wheel / "bin" / "tritonserver",
        describe_server(),
        arguments=(
            f"--backend-directory={backends}",
            f"--cache-directory={wheel / 'caches'}",
            # Also names the regions of backends that are written in Python, such as the stand-in.
            f"--backend-config=python,shm-region-prefix-name={shm_prefix}",
        ),
        environment=_wheel_environment(wheel),
    )


def _find_wheel() -> Path:
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise ServerError(
            f"no Triton server was found: no tritonserver on PATH, and the wheel {WHEEL} is not installed",
            hint=f"{_how_to_get_the_wheel()}, or set {SERVER_VARIABLE}, or name a running server with --server",
        )
    wheel = Path(spec.origin).parent / "tritonserver"
    if not _stub_path(wheel).is_file():
        raise ServerError(
            f"the wheel {WHEEL} has no Python backend for Python {_python_version()}",
            hint=f"use a Python of {', '.join(sorted(p.name for p in wheel.glob('python_backend_stubs/*')))}",
        )
    return wheel


def _how_to_get_the_wheel() -> str:
    if sys.version_info >= _PYTHON_WITHOUT_WHEEL:
        return f"install prep with a Python below {'.'.join(map(str, _PYTHON_WITHOUT_WHEEL))}, for which the wheel is"
    return hint_to_install("local")


def _python_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _stub_path(wheel: Path) -> Path:
    return wheel / "python_backend_stubs" / _python_version() / STUB_NAME


def _lay_out_backends(wheel: Path, backends: Path) -> Path:
    python = backends / "python"
    python.mkdir(parents=True)
    for source in (wheel / "backends" / "python").iterdir():
        if source.is_file():
            # Copied: the server refuses a backend library whose real path leaves the backend directory.
            shutil.copyfile(source, python / source.name)
    # Linked: the loader finds the stub's libraries relative to where the stub really is.
    (python / STUB_NAME).symlink_to(_stub_path(wheel))
    for name, path in STAND_IN_PATHS.items():
        stand_in = backends / name
        stand_in.mkdir()
        shutil.copyfile(path, stand_in / PYTHON_MODEL_NAME)
        shutil.copyfile(STAND_IN_RULES_PATH, stand_in / STAND_IN_RULES_PATH.name)
    return backends


def _wheel_environment(wheel: Path) -> dict[str, str]:
    """Return what lets the stub be this Python: its libpython, its prefix (by PATH), numpy and the runtimes."""
    libraries = [str(wheel.parent.parent / "nvidia_pytriton.libs"), sysconfig.get_config_var("LIBDIR")]
    packages = [_package_root(name) for name in ("numpy", *STAND_IN_PATHS)]
    return {
        "PATH": _join(str(Path(sys.executable).parent), os.environ.get("PATH")),
        "LD_LIBRARY_PATH": _join(*libraries, os.environ.get("LD_LIBRARY_PATH")),
        "PYTHONPATH": _join(*dict.fromkeys(packages)),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _package_root(name: str) -> str:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ServerError(
            f"the package {name}, which a stand-in of the server needs, is not installed",
            hint=hint_to_install("local"),
        )
    return str(Path(spec.origin).parent.parent)


def _join(*folders: str | None) -> str:
    return os.pathsep.join(folder for folder in folders if folder)
