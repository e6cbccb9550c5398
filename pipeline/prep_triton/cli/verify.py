"""`prep verify`: a repository or a release, on a real Triton."""

from dataclasses import dataclass
from typing import Annotated

import typer

from prep_triton.cli.groups import expand_groups, spec_from_flags
from prep_triton.cli.options import OutputOptions
from prep_triton.cli.output import session


@dataclass(frozen=True)
class ServerOptions:
    """The Triton that checks: the keys of `VerifySpec`."""

    server_url: Annotated[
        str | None,
        typer.Option("--server", help="A running Triton's gRPC address (host:port); one is started by default."),
    ] = None
    grpc_port: Annotated[
        int | None, typer.Option("--port", help="gRPC port of the Triton that is started; a free one by default.")
    ] = None
    timeout_s: Annotated[float, typer.Option(help="How long Triton may take to load everything, seconds.")] = 120.0


@expand_groups
def verify(
    target: Annotated[
        str,
        typer.Argument(
            help="A repository folder, a release, or the gs://bucket/prefix or folder of releases (the current one)."
        ),
    ],
    server: ServerOptions = ServerOptions(),
    output: OutputOptions = OutputOptions(),
) -> None:
    """Load every entry in a real Triton, send real text, and compare the answers with PyTorch.

    Rows go alone, in full batches, padded to each length bucket, and many at once; ensembles get text. -v shows
    the batches that formed and the time in the queue. What this machine cannot run is said to be unchecked.

    \b
    Examples:
      prep verify model_repository
      prep verify gs://bucket/models
      prep verify model_repository --server localhost:8001
    """
    with session(output) as out:
        from prep_triton.cli.documents.verify import VerifyDocument, render_verify
        from prep_triton.run.verification import verify_target
        from prep_triton.spec import VerifySpec

        spec = spec_from_flags(VerifySpec, server)
        with out.progress(f"verify {target}") as progress:
            report = verify_target(target, spec, progress=progress)
        out.show(VerifyDocument(**dict(report)), render_verify)
