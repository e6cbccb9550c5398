"""The bindings of several TensorRT versions, side by side and without TensorRT.

The wheels ``tensorrt-cu12-bindings`` hold one extension module, which needs three libraries and looks up eleven C
functions there (10.x: nine). Stubs of these are enough to import it and to look at every class, enum and signature.
All versions are one module, so no two can be installed into one environment: each is downloaded into a folder of its
own beside the installed packages, once, and by the hashes of ``locks/bindings.txt``. TensorRT-RTX is installed whole,
and looked at as it is.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parents[2] / "locks" / "bindings.txt"
RTX_MODULE = "tensorrt_rtx"
CACHE = Path(sys.prefix) / "tensorrt-bindings"
PROBE = Path(__file__).with_name("probe.py")

_PIP_OPTIONS = ("--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:", "--timeout", "10", "--retries", "1")
_LIBRARIES = ("nvinfer", "nvonnxparser", "nvinfer_plugin")
_FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getNvOnnxParserVersion",
    "initLibNvInferPlugins",
    "getInferLibVersion",
    "getLogger",
    "getPluginRegistry",
    "getBuilderPluginRegistry",
)
# pybind11 says SupportsInt of what it converts to an int, also where it calls back with one.
# The module has a value `bool` of its own, and every `-> bool` means Python's.
# WAR(tensorrt 11.4): add_scale_nd has a parameter without a default behind others with one, which is no Python.
_STUB_REPAIRS = (
    (re.compile(r"typing\.SupportsInt"), "int"),
    (re.compile(r"^bool: DataType\n", re.MULTILINE), ""),
    (re.compile(r"(: \w+ = \.\.\., \w+: [\w.]+)(?=, |\))"), r"\1 = ..."),
)


class BindingsMissingError(Exception):
    """Bindings cannot be looked at here; the text says why."""


@dataclass(frozen=True)
class Bindings:
    """What one version holds: each class by name, with its members (see `probe.describe_class`)."""

    version: str
    classes: dict[str, dict[str, Any]]


def load_bindings(version: str) -> Bindings:
    """Look at the bindings of a standard TensorRT.

    Raises:
        BindingsMissingError: They cannot be downloaded, or there is no C compiler.
    """
    folder = fetch_bindings(version)
    return _probe(["tensorrt_bindings", str(folder)], library_dir=make_libraries(version, folder))


def load_rtx_bindings() -> Bindings:
    """Look at the installed TensorRT-RTX.

    Raises:
        BindingsMissingError: It is not installed.
    """
    rtx = _probe([RTX_MODULE])
    return Bindings(f"RTX {rtx.version}", rtx.classes)


def read_pins() -> dict[str, str]:
    """Return the requirement of each version, with the hashes of its wheels, in the lock's order."""
    text = "".join(line for line in LOCK.read_text(encoding="utf-8").splitlines(keepends=True) if line[0] != "#")
    requirements = text.replace("\\\n", " ").splitlines()
    return {requirement.split()[0].partition("==")[2]: requirement for requirement in requirements}


def fetch_bindings(version: str, cache: Path = CACHE) -> Path:
    """Download the wheel of this Python and unpack it; nothing is left half-done.

    Raises:
        BindingsMissingError: pip cannot: no package index, or no wheel for this Python.
    """
    target = cache / f"{version}-{sys.implementation.cache_tag}"
    if target.is_dir():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        requirement = read_pins()[version]
        requirements = Path(folder, "requirements.txt")
        requirements.write_text(requirement, encoding="utf-8")
        options = [
            "--quiet",
            "--no-deps",
            "--require-hashes",
            "--only-binary=:all:",
            "--timeout",
            "10",
            "--retries",
            "1",
        ]
        command = [sys.executable, "-m", "pip", "download", *options, "--dest", folder, "-r", str(requirements)]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode:
            last = answer.stderr.strip().splitlines()[-1:] or ["pip said nothing"]
            raise BindingsMissingError(f"{requirement.split()[0]} cannot be downloaded: {last[0]}")
        unpacked = Path(folder, "unpacked")
        zipfile.ZipFile(next(Path(folder).glob("*.whl"))).extractall(unpacked)
        try:
            unpacked.rename(target)
        except OSError:  # another process was faster
            if not target.is_dir():
                raise
    return target


def make_libraries(version: str, folder: Path) -> Path:
    """Compile the three libraries that the bindings of a version are linked with; returns their folder.

    Raises:
        BindingsMissingError: There is no C compiler.
    """
    target = folder / "libraries"
    if target.is_dir():
        return target
    source = "\n".join(f"void *{name}(void) {{ return 0; }}" for name in _FUNCTIONS)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        built = Path(scratch, "libraries")
        built.mkdir()
        for library in _LIBRARIES:
            path = built / f"lib{library}.so.{version.partition('.')[0]}"
            command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(path)]
            try:
                subprocess.run(command, input=source, text=True, capture_output=True, check=True)
            except (OSError, subprocess.CalledProcessError) as err:
                raise BindingsMissingError(f"the stub libraries of TensorRT cannot be compiled: {err}") from err
        try:
            built.rename(target)
        except OSError:  # another process was faster
            if not target.is_dir():
                raise
    return target


def write_type_stubs(version: str) -> Path:
    """Write type stubs of a version's bindings as a package ``tensorrt``, once; returns the folder that holds it.

    Raises:
        BindingsMissingError: As `load_bindings`, or mypy's stubgen cannot.
    """
    folder = fetch_bindings(version)
    target = folder / f"stubs-{zlib.crc32(repr(_STUB_REPAIRS).encode()):08x}"
    if target.is_dir():
        return target
    libraries = make_libraries(version, folder)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        stubgen = Path(sys.executable).with_name("stubgen")
        command = [str(stubgen), "--quiet", "--inspect-mode", "-m", "tensorrt_bindings.tensorrt", "-o", scratch]
        environment = _environment(libraries) | {"PYTHONPATH": str(folder)}
        try:
            subprocess.run(command, env=environment, capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError) as err:
            raise BindingsMissingError(f"mypy's stubgen cannot read the bindings: {err}") from err
        text = Path(scratch, "tensorrt_bindings", "tensorrt.pyi").read_text(encoding="utf-8")
        package = Path(scratch, "stubs", "tensorrt")
        package.mkdir(parents=True)
        for pattern, repaired in _STUB_REPAIRS:
            text = pattern.sub(repaired, text)
        (package / "__init__.pyi").write_text(f"{text}\n__version__: str\n", encoding="utf-8")
        (package / "py.typed").touch()
        package.parent.rename(target)
    return target


def _environment(library_dir: Path | None) -> dict[str, str]:
    return dict(os.environ) | ({"LD_LIBRARY_PATH": str(library_dir)} if library_dir else {})


def _probe(arguments: list[str], library_dir: Path | None = None) -> Bindings:
    command = [sys.executable, str(PROBE), *arguments]
    answer = subprocess.run(command, env=_environment(library_dir), capture_output=True, text=True, check=False)
    if answer.returncode:
        last = answer.stderr.strip().splitlines()[-1:] or [f"exit code {answer.returncode}"]
        raise BindingsMissingError(f"{arguments[0]} cannot be imported: {last[0]}")
    content = json.loads(answer.stdout)
    return Bindings(content["version"], content["classes"])
