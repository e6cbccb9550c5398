"""Options that several commands share, written down once."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prep_triton.cli.choices import complete
from prep_triton.cli.completions import complete_model, complete_release, complete_target
from prep_triton.cli.groups import flag_of, given_options, spec_from_flags
from prep_triton.layout import DEFAULT_REPOSITORY

if TYPE_CHECKING:
    from prep_triton.spec import TargetSpec

DEFAULT_WORKSPACE = Path("build")
REPOSITORY_DIR = Path(DEFAULT_REPOSITORY)


WorkspaceOption = Annotated[
    Path,
    typer.Option("--workspace", help="Folder of the artifacts, kept between runs.", envvar="PREP_WORKSPACE"),
]
RemoteCacheOption = Annotated[
    str | None,
    typer.Option(
        "--remote-cache",
        metavar="URI",
        help="gs://bucket/prefix or folder that machines share artifacts in: fetched by key, saved when made.",
        envvar="PREP_REMOTE_CACHE",
    ),
]
RepositoriesOption = Annotated[
    list[Path] | None,
    typer.Option("--repository", help="Repository that was assembled from it (repeatable). [build/model_repository]"),
]
TargetArgument = Annotated[
    str, typer.Argument(help="Repository folder, release, or gs://bucket/prefix or a folder of releases.")
]
ReleaseOption = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        help="Release of the store: an id or its beginning, current, previous, newest, or its URI. [current]",
        autocompletion=complete_release,
    ),
]
ExportedModelArgument = Annotated[
    str | None, typer.Argument(help="The exported model. [all of them]", autocompletion=complete_model)
]
StoreArgument = Annotated[str, typer.Argument(help="gs://bucket/prefix or a folder.")]


@dataclass(frozen=True)
class OutputOptions:
    """How a command answers."""

    json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, show_default=False, help="Print more on stderr.")
    ] = 0
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the result, warnings and errors alone.")] = False
    log_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="File to append everything to that -v shows, as JSON lines.", envvar="PREP_LOG_FILE"
        ),
    ] = None


@dataclass(frozen=True)
class TargetOptions:
    """The server that a repository is for: the keys of `TargetSpec`."""

    triton: Annotated[
        str | None,
        typer.Option(
            "--target",
            metavar="YY.MM",
            help="Triton release that has to load it, such as 25.08.",
            autocompletion=complete_target,
        ),
    ] = None
    gpus: Annotated[
        list[str] | None,
        typer.Option(
            "--gpu",
            metavar="GPU",
            help="GPU of the target, such as t4 (repeatable). [none]",
            autocompletion=complete("gpus"),
        ),
    ] = None
    platform: Annotated[
        str | None,
        typer.Option(help="The target's platform: {platforms}. [linux/amd64]", autocompletion=complete("platforms")),
    ] = None
    driver: Annotated[
        str | None, typer.Option(metavar="VERSION", help="NVIDIA driver of the target, such as 580.95.05.")
    ] = None
    triton_releases: Annotated[
        str | None, typer.Option(metavar="FILE", help="YAML that adds to the table of Triton releases or corrects it.")
    ] = None


def target_from_flags(options: TargetOptions) -> "TargetSpec | None":
    """Return the target that was named, or None.

    Raises:
        SpecError: It is not a target, or is described without being named.
    """
    from prep_triton.errors import SpecError
    from prep_triton.spec import TargetSpec

    if options.triton is None:
        for key in given_options(options):
            flag = flag_of(options, key)
            raise SpecError(f"{flag} describes a target, but --target is missing", hint="add --target, such as 25.08")
        return None
    return spec_from_flags(TargetSpec, options)


def choose_repositories(folders: list[Path] | None) -> tuple[Path, ...]:
    """Return the repositories that were named, or the default one where it is there.

    Raises:
        SpecError: One that was named is not there.
    """
    from prep_triton.errors import SpecError

    for folder in folders or ():
        if not folder.is_dir():
            raise SpecError(f"--repository {folder} is not a folder", hint="name one that prep assemble wrote")
    return tuple(folders or ([REPOSITORY_DIR] if REPOSITORY_DIR.is_dir() else []))
