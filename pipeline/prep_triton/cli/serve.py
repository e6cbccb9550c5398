"""`prep serve`: a repository or a release on a real Triton, in the foreground."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from prep_triton.cli import interrupts
from prep_triton.cli.groups import expand_groups
from prep_triton.cli.options import OutputOptions, ReleaseOption, TargetArgument, TargetOptions, target_from_flags
from prep_triton.cli.output import Output, session
from prep_triton.layout import DEFAULT_REPOSITORY

if TYPE_CHECKING:
    from prep_triton.run.serving import ServedRepository


@dataclass(frozen=True)
class PortOptions:
    """Where the server listens, on loopback."""

    http_port: Annotated[int, typer.Option(help="Port of HTTP.")] = 8000
    grpc_port: Annotated[int, typer.Option(help="Port of gRPC.")] = 8001
    metrics_port: Annotated[int, typer.Option(help="Port of the metrics.")] = 8002


@expand_groups
def serve(
    repository: TargetArgument = DEFAULT_REPOSITORY,
    release: ReleaseOption = None,
    ports: PortOptions = PortOptions(),
    timeout_s: Annotated[float, typer.Option(min=0.001, help="Longest time for Triton to load, seconds.")] = 120.0,
    print_form: Annotated[
        str | None,
        typer.Option("--print", metavar="docker", help="Print the docker run line of NVIDIA's image instead."),
    ] = None,
    target: TargetOptions = TargetOptions(),
    output: OutputOptions = OutputOptions(),
) -> None:
    """Serve a repository on a real Triton until Ctrl-C.

    Starts the Triton of this machine on loopback with the repository's server.args. It runs the repository's
    model.py: serve what you trust.

    \b
    Examples:
      prep serve
      prep serve gs://bucket/models --release previous --grpc-port 9001
      prep serve gs://bucket/models --print docker --target 25.08
    """
    with session(output) as out:
        from prep_triton.errors import SpecError
        from prep_triton.run.serving import find_served, render_docker_command

        target_spec = target_from_flags(target)
        if print_form is None and target_spec:
            raise SpecError("--target is for --print docker: the Triton here is what it is", hint="add --print docker")
        if print_form not in (None, "docker"):
            raise SpecError(f"--print {print_form} is unknown", hint="prep serve REPOSITORY --print docker")
        served = find_served(repository, release)
        if print_form:
            out.line(render_docker_command(served, target_spec))
            return
        _serve(out, served, ports, timeout_s)


def _serve(out: Output, served: "ServedRepository", ports: PortOptions, timeout_s: float) -> None:
    from contextlib import ExitStack

    from prep_triton.cli.documents.serve import render_serve, serve_document
    from prep_triton.run.serving import serve as serve_repository
    from prep_triton.run.serving import wait_for_end
    from prep_triton.triton.server.ports import Ports
    from prep_triton.triton.server.process import drain_server

    listened = Ports(http=ports.http_port, grpc=ports.grpc_port, metrics=ports.metrics_port)
    with ExitStack() as stack:
        with out.progress(f"serve {served.uri}") as progress:
            running = stack.enter_context(serve_repository(served, listened, timeout_s=timeout_s, progress=progress))
        out.show(serve_document(served, running), render_serve)
        try:
            wait_for_end(running)
        except KeyboardInterrupt:  # how it is meant to end; SIGTERM does as well
            out.note("stopping Triton")
            drain_server(running)  # its clients get the answers that it has begun
    interrupts.take_interruption()
