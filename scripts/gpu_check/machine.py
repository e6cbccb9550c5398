"""What this machine has of what the check needs."""

import os
import shutil
import subprocess
from pathlib import Path

from prep_triton.engine.builders import BuilderName, find_builder_problem, has_nvidia_driver
from prep_triton.errors import PrepError
from prep_triton.gpus import find_present_gpus

# The last image with TensorRT 10, which is the safe one for a T4.
IMAGE = "nvcr.io/nvidia/tritonserver:26.05-py3"
IMAGE_SERVER = Path("/opt/tritonserver/bin/tritonserver")
# torch only exports here: its build for the CPU, without gigabytes of CUDA.
TORCH_FOR_CPUS = "https://download.pytorch.org/whl/cpu"
# The container's own word on the TensorRT of its server, such as 10.16.1.11+cuda13.2.
TENSORRT_VARIABLE = "TRT_VERSION"


def find_problem(builder: BuilderName) -> str | None:
    """Say why the engines cannot be built here and, but for a rehearsal, executed; None where they can."""
    if builder == "tensorrt" and (not has_nvidia_driver() or not find_present_gpus()):
        return "there is no NVIDIA GPU with a running driver"
    return find_builder_problem(builder)


def find_tritonserver() -> Path | None:
    """Return the machine's own server, which has the TensorRT backend; the one of the wheel has not."""
    program = os.environ.get("PREP_TRITONSERVER") or shutil.which("tritonserver")
    if program:
        return Path(program)
    return IMAGE_SERVER if IMAGE_SERVER.is_file() else None


def render_docker_line(root: Path) -> str:
    """Return the line that runs the check inside the stock image, which has TensorRT and the server.

    Its environment is a volume of the container, beside which the checkout's own .venv stays as it is.
    """
    return (
        f"docker run --rm --gpus all --shm-size 2g --ulimit memlock=-1 -e PIP_EXTRA_INDEX_URL={TORCH_FOR_CPUS} "
        f"-v {root}:/prep -v /prep/.venv -w /prep {IMAGE} scripts/gpu-check"
    )


def check_tensorrt(version: str) -> None:
    """Refuse to build with another TensorRT than that of the server beside it: it would load none of the plans.

    Args:
        version: That of the Python package.

    Raises:
        PrepError: The container says another one.
    """
    said = os.environ.get(TENSORRT_VARIABLE, "").partition("+")[0]
    if said and not (said == version or said.startswith(f"{version}.") or version.startswith(f"{said}.")):
        raise PrepError(
            f"the Python package tensorrt is {version}, the server of this container has {said} ({TENSORRT_VARIABLE})",
            hint=f".venv/bin/pip install tensorrt=={said}",
        )


def describe_gpus() -> str:
    """Name the GPUs of this machine."""
    return ", ".join(f"{gpu.name} ({gpu.compute_capability})" for gpu in find_present_gpus()) or "no GPU"


def read_nvidia_smi() -> str:
    """Return what nvidia-smi says of clocks, power, memory and driver; why not, where it says nothing."""
    try:
        done = subprocess.run(["nvidia-smi", "-q"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as err:
        return f"nvidia-smi did not answer: {err}\n"
    return done.stdout + done.stderr
