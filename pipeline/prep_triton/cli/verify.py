"""`prep verify`: a repository or a release, on a real Triton."""

from dataclasses import dataclass
from typing import Annotated

import typer

from prep_triton.cli.groups import expand_groups, spec_from_flags
from prep_triton.cli.options import OutputOptions, ReleaseOption, TargetArgument
from prep_triton.cli.output import session
from prep_triton.layout import DEFAULT_REPOSITORY


@dataclass(frozen=True)
class ServerOptions:
    """The Triton that checks: the keys of `VerifySpec`."""

    server_url: Annotated[
        str | None,
        typer.Option("--server", help="HOST:PORT of a running Triton's gRPC. [starts one]"),
    ] = None
    grpc_port: Annotated[
        int | None, typer.Option("--grpc-port", "--port", help="gRPC port of the Triton to start. [a free one]")
    ] = None
    timeout_s: Annotated[float, typer.Option(help="Longest time for Triton to load everything, seconds.")] = 120.0


@expand_groups
def verify(
    target: TargetArgument = DEFAULT_REPOSITORY,
    release: ReleaseOption = None,
    server: ServerOptions = ServerOptions(),
    output: OutputOptions = OutputOptions(),
) -> None:
    """Verify a repository or a release on a real Triton.

    Loads every entry, sends rows alone, in full batches, padded to each length bucket and many at once, and text to
    ensembles, and compares the answers with PyTorch's. -v shows the batches that formed and the time in the queue.
    Entries that this machine cannot run are reported as not checked. A Triton of its own runs the repository's
    model.py: verify what you trust.

    \b
    Examples:
      prep verify
      prep verify gs://bucket/models --release previous
      prep verify ./models --server localhost:8001
    """
    with session(output) as out:
        from prep_triton.cli.documents.verify import VerifyDocument, render_verify
        from prep_triton.run.verification import verify_target
        from prep_triton.spec import VerifySpec

        spec = spec_from_flags(VerifySpec, server)
        with out.progress(f"verify {target}") as progress:
            report = verify_target(target, spec, reference=release, progress=progress)
        out.show(VerifyDocument(**dict(report)), render_verify)
