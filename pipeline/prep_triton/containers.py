"""What is inside NVIDIA's Triton containers: ``triton_releases.yaml``, with where each value is from.

The container's own ``TRT_VERSION`` variable is the truth: a file of the user's adds to the table or corrects it.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import Field

from prep_triton.artifact import Record
from prep_triton.errors import SpecError
from prep_triton.spec.faults import Problem, error_from_problems, find_problems
from prep_triton.spec.yaml_text import load_document, parse_document

TABLE_VARIABLE = "PREP_TRITON_RELEASES"

Confidence = Literal["published", "built", "image", "reported", "inferred", "lead", "yours"]
ImageKind = Literal["py3", "trtllm"]
_TRTLLM_SUFFIX = "-trtllm"


class TritonRelease(Record):
    """One container of NVIDIA's Triton.

    `tag` is ``26.05``, or ``26.05-trtllm`` for the image with TensorRT-LLM, which has another TensorRT. `triton` is the
    server's version; versions are None where they are not known, and have as many numbers as are known.
    `min_driver` is the driver's branch that its CUDA needs; `min_compute_capability` is the oldest GPU that it runs on.
    `confidence` says how a value is known, by its key (see ``triton_releases.yaml``); published where it is not.
    """

    tag: str
    triton: str
    cuda: str | None = None
    min_driver: str | None = None
    tensorrt: str | None = None
    onnxruntime: str | None = None
    openvino: str | None = None
    python: str
    min_compute_capability: str
    source: str
    confidence: dict[str, Confidence] = Field(default_factory=dict)

    @property
    def image_kind(self) -> ImageKind:
        """Which of the month's images it is."""
        return "trtllm" if self.tag.endswith(_TRTLLM_SUFFIX) else "py3"

    @property
    def image(self) -> str:
        """The container's name with its tag."""
        kind = "-python-py3" if self.image_kind == "trtllm" else "-py3"
        return f"nvcr.io/nvidia/tritonserver:{self.tag}{kind}"

    def confidence_in(self, key: str) -> Confidence:
        """How a value is known."""
        return self.confidence.get(key, "published")


def load_triton_releases(override_path: Path | None = None) -> Mapping[str, TritonRelease]:
    """Return the table of Triton containers, by tag.

    Args:
        override_path: A YAML file of the same form whose keys win; None takes the one that the environment
            variable PREP_TRITON_RELEASES names, if there is one.

    Raises:
        SpecError: The file cannot be read, or is not such a table.
    """
    path = override_path or (Path(os.environ[TABLE_VARIABLE]) if os.environ.get(TABLE_VARIABLE) else None)
    if path is None:
        return _load_own_releases()
    try:
        document = load_document(path, hint=_FORM)
    except FileNotFoundError as err:
        raise SpecError(f"the table of Triton releases {path} cannot be read: there is none", hint=_FORM) from err
    table, problems = document.value, []
    if not isinstance(table, Mapping) or not all(isinstance(row, Mapping) for row in table.values()):
        raise SpecError(f"{path} is not a table of Triton releases", hint=_FORM)
    releases = dict(_load_own_releases())
    for tag, row in table.items():
        if not isinstance(tag, str):  # YAML reads 25.10 as the number 25.1
            message = f'the release {tag!r} is without quotes, expected one such as "25.10"'
            problems.append(Problem((str(tag),), message, "put it in quotes", at_key=True))
            continue
        if "tag" in row:
            problems.append(Problem((tag, "tag"), "unknown key 'tag'", "the tag is the row's own key", at_key=True))
        known = releases[tag].model_dump() if tag in releases else {}
        confidence = {**known.get("confidence", {}), **dict.fromkeys(row.keys() & _VALUES, "yours")}
        corrected = {**known, "source": str(path), "confidence": confidence, **row, "tag": tag}
        release, faults = find_problems(TritonRelease, corrected)
        if isinstance(release, TritonRelease):
            releases[tag] = release
        problems += [replace(fault, path=(tag, *fault.path)) for fault in faults]
    if problems:
        raise error_from_problems(problems, where=str(path), document=document)
    return dict(sorted(releases.items()))


_VALUES = TritonRelease.model_fields.keys() - {"tag", "source", "confidence"}
_FORM = "it is YAML: \"25.08\": {triton: 2.60.0, tensorrt: 10.13.2, python: '3.12', min_compute_capability: '7.5'}"


@lru_cache(maxsize=1)
def _load_own_releases() -> Mapping[str, TritonRelease]:
    text = (resources.files("prep_triton") / "triton_releases.yaml").read_text(encoding="utf-8")
    table = parse_document(text, where="triton_releases.yaml").value
    return {tag: TritonRelease(tag=tag, **row) for tag, row in sorted(table.items())}


def find_triton_release(tag: str, override_path: Path | None = None) -> TritonRelease:
    """Return what is known of a container.

    The image with TensorRT-LLM has what the month's other one has, but for the libraries that backends load: of
    these the table knows nothing unless it has a row of its own.

    Raises:
        SpecError: The release is not in the table, or the user's file is not such a table.
    """
    table = load_triton_releases(override_path)
    if tag in table:
        return table[tag]
    base = table.get(tag.removesuffix(_TRTLLM_SUFFIX))
    if base is None:
        raise SpecError(
            f"Triton {tag} is not in the table of releases, which has {', '.join(table)}",
            hint=f"add it in a file of your own, named by triton_releases or {TABLE_VARIABLE}; {_FORM}",
        )
    unknown: dict[str, object] = dict.fromkeys(("tensorrt", "onnxruntime", "openvino"))
    confidence = {key: known for key, known in base.confidence.items() if key not in unknown}
    return base.model_copy(update={**unknown, "tag": tag, "confidence": confidence})
