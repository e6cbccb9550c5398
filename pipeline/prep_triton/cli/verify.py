"""`prep verify`: a repository or a release, on a real Triton."""

from typing import Annotated

import typer

from prep_triton.cli import output
from prep_triton.cli.options import JsonOption, VerboseOption
from prep_triton.cli.render import describe_answers, detail_answers, tell_verification


def verify(
    target: Annotated[
        str,
        typer.Argument(
            help="A repository folder, a release, or the gs://bucket/prefix or folder of releases (the current one)."
        ),
    ],
    server: Annotated[
        str | None, typer.Option(help="A running Triton's gRPC address (host:port); one is started by default.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="gRPC port of the Triton that is started; a free one by default.")
    ] = None,
    timeout_s: Annotated[float, typer.Option(help="How long Triton may take to load everything, seconds.")] = 120.0,
    json: JsonOption = False,
    verbose: VerboseOption = 0,
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
    with output.session(as_json=json, verbose=verbose) as out:
        from prep_triton.run.verification import verify_target
        from prep_triton.spec import VerifySpec, build_spec

        given = {"server_url": server, "grpc_port": port, "timeout_s": timeout_s}
        spec = build_spec(VerifySpec, given, where="the command line")
        with out.progress(f"verify {target}") as progress:
            report = verify_target(target, spec, progress=progress)
        document = report.model_dump(mode="json")
        out.document(document)
        tell_verification(out, document)
        for entry in document["entries"]:
            out.line(f"  {entry['name']}: {describe_answers(entry)}")
            for line in detail_answers(entry) if verbose else ():
                out.line(f"    {line}")
