"""What a run looks up once, at its beginning, and passes on: this machine, and the store that it publishes to."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prep_triton.engine.machine import Machine, detect_machine
from prep_triton.errors import SpecError
from prep_triton.spec import RunSpec
from prep_triton.workspace import Workspace

if TYPE_CHECKING:
    from prep_triton.publish.store import Store


@dataclass(frozen=True)
class ResolvedRun:
    """A pipeline file with what its flags and this machine make of it.

    `machine` is an empty one where nothing is built for TensorRT, and `store` is None where nothing is published.
    With `only_engines` nothing is assembled either: the spec is the part of one GPU, see `select_plans`.
    """

    spec: RunSpec
    workspace: Workspace
    machine: Machine
    store: "Store | None"
    is_verified: bool
    only_engines: bool = False

    @property
    def repository_dir(self) -> Path:
        """The model repository, relative to the current folder."""
        return Path(self.spec.repository)

    @property
    def is_dry(self) -> bool:
        """Whether the run only says what it would do."""
        return self.workspace.read_only


def resolve_run(
    spec: RunSpec,
    workspace: Workspace,
    *,
    publish_uri: str | None = None,
    verify: bool = True,
    only_engines: bool = False,
) -> ResolvedRun:
    """Look up what a run needs beside its file; nothing is started but nvidia-smi, and nothing is written.

    Args:
        spec: What to make.
        workspace: Where the artifacts are kept.
        publish_uri: Where to publish; wins over the file's `publish`.
        verify: Whether to check the result on a real Triton; wins over the file when False.
        only_engines: Stop before assembling.

    Raises:
        SpecError: The URI is not one of a store, or there will be nothing to publish.
    """
    if only_engines and publish_uri:
        raise SpecError("--only-gpu builds engines and publishes nothing", hint="leave --publish or --only-gpu out")
    has_engines = any(variant.runtime == "tensorrt" for model in spec.models for variant in model.variants)
    return ResolvedRun(
        spec=spec,
        workspace=workspace,
        machine=detect_machine(workspace) if has_engines else Machine(),
        store=None if only_engines else _open_store(publish_uri or spec.publish),
        is_verified=verify and spec.verify.enabled and not only_engines,
        only_engines=only_engines,
    )


def _open_store(uri: str | None) -> "Store | None":
    if not uri:
        return None
    from prep_triton.publish.uri import open_store

    return open_store(uri)
