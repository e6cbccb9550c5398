"""What a run looks up once, at its beginning, and passes on: this machine, and the store that it publishes to."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prep_triton.engine.machine import Machine, detect_machine
from prep_triton.errors import SpecError
from prep_triton.run.selection import select_models
from prep_triton.spec import PipelineModelSpec, RunSpec
from prep_triton.workspace import Workspace

if TYPE_CHECKING:
    from prep_triton.publish.store import Store


@dataclass(frozen=True)
class RunChoices:
    """What flags decide about a run, beside its file.

    `publish_uri` is where to publish, and wins over the file's `publish`; `verify` is whether to check the result on a
    real Triton, and wins over the file when False; `only_engines` stops before assembling: the file is the part of one
    GPU; `only_models` are the names of the models to make, all where empty.
    """

    publish_uri: str | None = None
    verify: bool = True
    only_engines: bool = False
    only_models: tuple[str, ...] = ()


DEFAULT_CHOICES = RunChoices()


@dataclass(frozen=True)
class ResolvedRun:
    """A pipeline file with what its flags and this machine make of it.

    `machine` is an empty one where nothing is built for TensorRT, and `store` is None where nothing is published.
    With `only_engines` nothing is assembled either: the spec is the part of one GPU, see `select_plans`. `others` are
    models of the file of which nothing is made: a release keeps what the current one has of them. `is_benched` is
    whether the result is measured under load, as the file's `bench` says.
    """

    spec: RunSpec
    workspace: Workspace
    machine: Machine
    store: "Store | None"
    is_verified: bool
    only_engines: bool = False
    others: tuple[PipelineModelSpec, ...] = ()
    is_benched: bool = False

    @property
    def repository_dir(self) -> Path:
        """The model repository, relative to the current folder."""
        return Path(self.spec.repository)

    @property
    def is_dry(self) -> bool:
        """Whether the run only says what it would do."""
        return self.workspace.read_only


def resolve_run(spec: RunSpec, workspace: Workspace, choices: RunChoices = DEFAULT_CHOICES) -> ResolvedRun:
    """Look up what a run needs beside its file; nothing is started but nvidia-smi, and nothing is written.

    Args:
        spec: What to make.
        workspace: Where the artifacts are kept.
        choices: What flags decide.

    Raises:
        SpecError: The URI is not one of a store, there will be nothing to publish, or a model is unknown.
    """
    only_engines, publish_uri = choices.only_engines, choices.publish_uri
    if only_engines and publish_uri:
        raise SpecError("--only-gpu builds engines and publishes nothing", hint="leave --publish or --only-gpu out")
    spec, others = select_models(spec, choices.only_models)
    has_engines = any(variant.runtime == "tensorrt" for model in spec.models for variant in model.variants)
    return ResolvedRun(
        spec=spec,
        workspace=workspace,
        machine=detect_machine(workspace) if has_engines else Machine(),
        store=None if only_engines else _open_store(publish_uri or spec.publish),
        is_verified=choices.verify and spec.verify.enabled and not only_engines,
        only_engines=only_engines,
        others=others,
        is_benched=choices.verify and spec.bench is not None and not only_engines,
    )


def _open_store(uri: str | None) -> "Store | None":
    if not uri:
        return None
    from prep_triton.publish.uri import open_store

    return open_store(uri)
