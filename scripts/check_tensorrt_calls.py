"""Type-check what `prep_triton.engine` calls against the stubs of the standard TensorRT, which need not be here.

    .venv/bin/python scripts/check_tensorrt_calls.py

The stubs (PyPI, tensorrt-stubs) are fetched once beside the installed packages, without what they depend on,
which is TensorRT.
WAR(tensorrt-stubs 10.13.0.35.1): five of their declarations are no Python, and mypy reads nothing after one;
they are repaired in the copy. Exits with mypy's status; 3 where the stubs cannot be fetched.
"""

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
STUBS = "tensorrt-stubs==10.13.0.35.1"
TARGET = Path(sys.prefix) / "tensorrt-stubs"
EXIT_CANNOT = 3

# A parameter called `in`, and one without a default behind others with one.
REPAIRS = (
    (re.compile(r"\((self[^,()]*), in: "), r"(\1, in_: "),
    (re.compile(r"power: Weights = None, channel_axis: int\)"), "power: Weights = None, channel_axis: int = 0)"),
)
CONFIG = """[mypy]
python_version = 3.11
strict = True
follow_imports = silent
mypy_path = {stubs}
plugins = pydantic.mypy
[mypy-tensorrt.*,tensorrt_bindings.*]
ignore_errors = True
[mypy-tensorrt_rtx.*,polygraphy.*]
ignore_missing_imports = True
follow_imports = skip
"""


def fetch_stubs(target: Path) -> None:
    """Download, unpack and repair the stubs; nothing is left half-done."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, STUBS]
        subprocess.run(command, check=True)
        unpacked = Path(folder, "unpacked")
        zipfile.ZipFile(next(Path(folder).glob("*.whl"))).extractall(unpacked)
        for path in unpacked.rglob("*.pyi"):
            text = path.read_text(encoding="utf-8")
            for pattern, repaired in REPAIRS:
                text = pattern.sub(repaired, text)
            path.write_text(text, encoding="utf-8")
        unpacked.rename(target)


def main() -> int:
    if not TARGET.is_dir():
        try:
            fetch_stubs(TARGET)
        except subprocess.CalledProcessError:
            print(f"{STUBS} cannot be fetched: the calls to TensorRT were not checked", file=sys.stderr)
            return EXIT_CANNOT
    config = TARGET / "mypy.ini"
    config.write_text(CONFIG.format(stubs=TARGET), encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file", str(config), "--cache-dir", str(TARGET / "cache")]
    return subprocess.run([*command, "pipeline/prep_triton/engine"], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
