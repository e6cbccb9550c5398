"""Options that several commands share, written down once."""

from pathlib import Path
from typing import Annotated

import typer

TASK_NAMES = (
    "auto",
    "fill-mask",
    "question-answering",
    "text-classification",
    "token-classification",
    "feature-extraction",
)
MODEL_ALIASES = ("bert-base", "bert-large", "distilbert", "minilm")
GPU_EXAMPLES = ("t4", "l4", "a10", "a100", "l40s", "h100")


def complete_from(*words: str) -> "object":
    """Return a completion function over fixed words."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


WorkspaceOption = Annotated[
    Path,
    typer.Option("--workspace", help="Folder of the artifacts that are kept between runs.", envvar="PREP_WORKSPACE"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
VerboseOption = Annotated[
    int, typer.Option("--verbose", "-v", count=True, show_default=False, help="Say more on stderr.")
]

DEFAULT_WORKSPACE = Path("build")
DEFAULT_REPOSITORY = Path("model_repository")
