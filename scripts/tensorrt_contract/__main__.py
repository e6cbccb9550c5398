"""Hold what `prep_triton.engine` asks of TensorRT against the real bindings.

    .venv/bin/python -m scripts.tensorrt_contract            check, also with mypy
    .venv/bin/python -m scripts.tensorrt_contract --write    write the table of docs/tensorrt.md again

Exits 1 where something is missing or mypy finds a fault, 3 where the bindings cannot be looked at (no package index,
no C compiler), which it says.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.tensorrt_contract.bindings import (
    CACHE,
    Bindings,
    BindingsMissingError,
    load_bindings,
    load_rtx_bindings,
    read_pins,
    write_type_stubs,
)
from scripts.tensorrt_contract.contract import find_lacks, render_table
from scripts.tensorrt_contract.uses import Use, collect_uses

ROOT = Path(__file__).parents[2]
ENGINE_DIR = ROOT / "pipeline" / "prep_triton" / "engine"
DOCUMENT = ROOT / "docs" / "tensorrt.md"
BEGIN, END = "<!-- table: scripts.tensorrt_contract --write -->\n", "\n<!-- end of table -->"
# The oldest that triton_releases.yaml names, the oldest that the extra `tensorrt` takes, the newest 10, the newest.
OLDEST, FLOOR, LAST_OF_10, NEWEST = VERSIONS = tuple(read_pins())
EXIT_LACKS, EXIT_CANNOT = 1, 3

MYPY_CONFIG = """[mypy]
python_version = 3.11
strict = True
follow_imports = silent
mypy_path = {stubs}
plugins = pydantic.mypy
[mypy-tensorrt.*]
ignore_errors = True
[mypy-tensorrt_rtx.*,polygraphy.*]
ignore_missing_imports = True
follow_imports = skip
"""


def main() -> int:
    try:
        columns = load_columns()
        stubs = write_type_stubs(NEWEST)
    except BindingsMissingError as err:
        print(f"the calls to TensorRT were not checked: {err}", file=sys.stderr)
        return EXIT_CANNOT
    uses = collect_uses(ENGINE_DIR, columns[NEWEST])
    if "--write" in sys.argv[1:]:
        DOCUMENT.write_text(replace_table(DOCUMENT.read_text(encoding="utf-8"), uses, columns), encoding="utf-8")
        print(f"wrote {DOCUMENT.relative_to(ROOT)}")
    lacks = [lack for version, held in columns.items() for lack in find_lacks(uses, held, is_newest=version == NEWEST)]
    for lack in lacks:
        print(lack.sentence)
    print(f"{len(uses)} uses of TensorRT, in {', '.join(columns)}: {len(lacks)} missing")
    return check_types(stubs) or (EXIT_LACKS if lacks else 0)


def load_columns() -> dict[str, Bindings]:
    """Look at every version; the last column is the installed TensorRT-RTX.

    Raises:
        BindingsMissingError: One cannot be looked at.
    """
    rtx = load_rtx_bindings()
    return {version: load_bindings(version) for version in VERSIONS} | {rtx.version: rtx}


def replace_table(text: str, uses: Sequence[Use], columns: Mapping[str, Bindings]) -> str:
    """Return the document with its table written again."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{render_table(uses, columns)}\n{END}{after}"


def check_types(stubs: Path) -> int:
    """Run mypy over the engine, with type stubs in TensorRT's place; returns its exit code."""
    config = CACHE / "mypy.ini"
    config.write_text(MYPY_CONFIG.format(stubs=stubs), encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file", str(config), "--cache-dir", str(CACHE / "mypy-cache")]
    return subprocess.run([*command, str(ENGINE_DIR.relative_to(ROOT))], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
