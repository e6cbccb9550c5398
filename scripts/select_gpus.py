"""What of a pipeline file belongs to one GPU: an engine is built on the GPU that will serve it.

Usage: select_gpus.py CONFIG       the GPUs that plans are built for, as a JSON list
       select_gpus.py CONFIG GPU   the part of the file that a machine with that GPU has to run, as YAML

The part asks for the very engines that the whole file asks for, so a run of the whole file finds them in the
workspace. It assembles into a folder of its own, which nobody needs, and publishes nothing.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml


def list_gpus(config: dict[str, Any]) -> list[str]:
    """Return the GPUs that plans are built for, in no case twice."""
    found = {gpu.lower() for model in config["models"] for variant in model["variants"] for gpu in _gpus(variant)}
    return sorted(found)


def select_gpu(config: dict[str, Any], gpu: str) -> dict[str, Any]:
    """Return the models and variants that have plans for a GPU, for that GPU alone."""
    models = []
    for model in config["models"]:
        own = [one for one in model["variants"] if gpu in [name.lower() for name in _gpus(one)]]
        if own:
            models.append({**model, "variants": [{**variant, "gpus": [gpu]} for variant in own]})
    return {"models": models, "repository": str(Path(tempfile.gettempdir()) / f"repository-{gpu}")}


def _gpus(variant: dict[str, Any]) -> list[str]:
    return list(variant.get("gpus") or ()) if variant.get("builder") != "tensorrt-rtx" else []


def main() -> None:
    """Run the script."""
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    config = yaml.safe_load(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if len(sys.argv) == 2:
        print(json.dumps(list_gpus(config)))
        return
    selected = select_gpu(config, sys.argv[2].lower())
    if not selected["models"]:
        sys.exit(f"error: {sys.argv[1]} builds no plan for {sys.argv[2]}, only for {', '.join(list_gpus(config))}")
    print(yaml.safe_dump(selected, sort_keys=False), end="")


if __name__ == "__main__":
    main()
