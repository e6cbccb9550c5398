"""Every file name of an artifact, an entry, a repository and a release: stated here alone, with what writes it.

::

    <workspace>/<stage>/<name>/<key>/    manifest.json                          workspace.py
                                           model.onnx, model.onnx.data          onnx_file.py, for export/, precision/
                                           reference.npz, tokenizer.json        reference.py, for export/
                                           library.json                         library_answers.py, for export/
                                           model.engine                         engine/worker.py
    <workspace>/<stage>/<name>/current   the key that a name means now          workspace.py

    <repository>/                        server.args                            triton/entries/server_arguments.py
                                           .lock, .staging-<entry>              triton/entries/load.py, place.py
                                           .prep-run.json                       run/leftovers.py
                                           .edited-<entry>.pbtxt                triton/entries/edits.py
    <repository>/../                     bench.json, report.html                run/bench_step.py
    <repository>/<entry>/                manifest.json                          triton/entries/place.py
                                           config.pbtxt                         triton/entries/write.py, text.py
                                           reference.npz, tokenizer.json,       triton/entries/write.py
                                           library.json
                                           warmup/                              triton/config/warmup.py
    <repository>/<entry>/1/              model.onnx or model_sm75.plan          triton/entries/write.py
                                           model.onnx.data                      triton/entries/write.py
                                           model.py and what it imports         triton/vendored/server_side.py
                                           tokenizer.json, labels.json          triton/entries/text.py

    <store>/                             current.json                           publish/pointer.py
                                           .lock, .staging/ in a folder         publish/folder.py
    <store>/releases/<id>/               release.json, and the entries          publish/release.py
    <store>/reports/<id>.json            known only after it was published      publish/reports.py

What runs inside the server (`triton/inside_server`) imports nothing of `prep_triton` and repeats the names that it
opens; a test holds them against these.
"""

import os
from collections.abc import Iterator
from pathlib import Path

MANIFEST_NAME = "manifest.json"
LOCK_NAME = ".lock"

# A graph and its engine.
GRAPH_NAME = "model.onnx"
WEIGHTS_NAME = f"{GRAPH_NAME}.data"  # beside a graph of which one file would be too long
# The longest message that protobuf, and so ONNX Runtime and TensorRT's parser, reads.
ONE_FILE_BYTES = 2**31 - 1
ENGINE_NAME = "model.engine"
REFERENCE_NAME = "reference.npz"
LIBRARY_NAME = "library.json"
TOKENIZER_NAME = "tokenizer.json"

# The workspace.
CURRENT_KEY_NAME = "current"
LOCKS_DIR = "locks"
INPUTS_SUFFIX = ".inputs"  # beside a lock: the keys of what its holder reads
VERIFIED_DIR = "verified"
TIMING_CACHES_DIR = "timing-caches"  # what TensorRT measured, by its version and the GPU's architecture
STAGING_PREFIX = ".staging-"

# An entry: one model directory of a Triton repository.
CONFIG_NAME = "config.pbtxt"
VERSION_DIR = "1"  # the one version of an entry; every release is a version of its own
WARMUP_DIR = "warmup"  # core, src/constants.h, kWarmupDataFolder
PLAN_NAME = "model.plan"  # what the TensorRT backend opens where the configuration names no file
PYTHON_MODEL_NAME = "model.py"
LABELS_NAME = "labels.json"
# What Triton's label_filename names: a label a line.
LABEL_FILE_NAME = "labels.txt"
PLACEHOLDER_NAME = "README.txt"  # an ensemble's version has no files, and an object store keeps no empty folder
CACHE_DIRS = ("__pycache__",)  # what Python leaves in an entry that was loaded here; no part of it

# A repository.
DEFAULT_REPOSITORY = "build/model_repository"  # git ignores it, and no stage of a workspace is so called
SERVER_ARGUMENTS_NAME = "server.args"
BENCH_NAME = "bench.json"  # beside the repository: what a run's load measured of it
BENCH_REPORT_NAME = "report.html"  # likewise, for people
RUN_ENTRIES_NAME = ".prep-run.json"  # the entries that the repository's pipeline file makes

# A store.
STAGING_DIR = ".staging"
POINTER_NAME = "current.json"
RELEASES_DIR = "releases"
RELEASE_NAME = "release.json"
REPORTS_DIR = "reports"


def name_of_backup(entry_name: str) -> str:
    """Return the name, beside the entries, of an entry's config.pbtxt that was edited by hand and replaced."""
    return f".edited-{entry_name}.pbtxt"


def is_graph_file(name: str) -> bool:
    """Whether a file of an artifact is its graph, or the weights that a large graph keeps beside it."""
    return name in (GRAPH_NAME, WEIGHTS_NAME)


def plan_name(compute_capability: str) -> str:
    """Return the file name of the plan for a compute capability ("7.5") within a version folder."""
    return f"model_sm{compute_capability.replace('.', '')}.plan"


def timing_cache_name(tensorrt_version: str, compute_capability: str) -> str:
    """Return the file name of the timing cache of a TensorRT for a compute capability ("7.5")."""
    return f"tensorrt-{tensorrt_version}-sm{compute_capability.replace('.', '')}.cache"


def folder_of_release(release_id: str) -> str:
    """Return the name prefix of a release's objects in its store, with the slash."""
    return f"{RELEASES_DIR}/{release_id}/"


def name_of_report(release_id: str) -> str:
    """Return the name of a release's report in its store."""
    return f"{REPORTS_DIR}/{release_id}.json"


def list_names(folder: Path) -> list[str]:
    """Return the names in a folder in order; none where it cannot be read."""
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - names alone are needed
    except OSError:
        return []


def walk_entry(folder: Path) -> Iterator[Path]:
    """Yield every path below an entry that is not a folder: its files, links, and whatever else lies there.

    What is hidden, and Python's caches, are no part of an entry and left out. A link to a folder is a link.
    """
    for name in list_names(folder):
        path = folder / name
        if name.startswith(".") or name in CACHE_DIRS:
            continue
        if path.is_dir() and not path.is_symlink():
            yield from walk_entry(path)
        else:
            yield path
