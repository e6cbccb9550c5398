"""Whether an export would put another model under a name that the workspace knows."""

from prep_triton.artifact import OnnxModel
from prep_triton.errors import SpecError
from prep_triton.export.source import Source
from prep_triton.workspace import Workspace


def check_replacement(source: Source, stage: str, workspace: Workspace) -> None:
    """Refuse an export of another model than the one that has its name now.

    Other weights of the same source are no other model: it was trained again.

    Raises:
        SpecError: Source, task or kind of weights differ; says what the name is now and what it would be.
    """
    if message := describe_replacement(source, stage, workspace):
        raise SpecError(message, hint=f"add --replace, or give it another name: --name {source.name}-2")


def describe_replacement(source: Source, stage: str, workspace: Workspace) -> str:
    """Say what a name is now and what it would be; empty where it is the same model, or the name is new."""
    before = workspace.current(stage, source.name, OnnxModel)
    if before is None:
        return ""
    was = (_origin(before.source), before.task, before.weights)
    now = (_origin(source.label), source.task, source.weights)
    return f"{source.name} is now {_describe(*was)}, and would be {_describe(*now)}" if was != now else ""


def _origin(label: str) -> str:
    """Return a label without what tells two states of one model apart: a commit, or a package's version."""
    return label.partition("@")[0].partition("==")[0]


def _describe(origin: str, task: str, weights: str) -> str:
    kind, _, name = origin.partition(":")
    place = f"{kind}:{name}" if name.startswith("//") else name
    where = f"the folder {name}" if kind == "folder" else place
    return f"{where} with random weights ({task})" if weights == "random" else f"{where} ({task})"
