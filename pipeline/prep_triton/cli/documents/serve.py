"""What `prep serve` answers, once the server is ready."""

from prep_triton.artifact import Record
from prep_triton.cli.output import Output
from prep_triton.run.serving import ServedRepository
from prep_triton.triton.server.process import RunningTriton


class ServeDocument(Record):
    """A server that is ready; `failures` says of each entry that it did not load why not."""

    repository: str
    version: str
    flavour: str
    http_url: str
    grpc_url: str
    metrics_url: str
    entries: tuple[str, ...]
    text_entries: tuple[str, ...]
    failures: dict[str, str]


def serve_document(served: ServedRepository, running: RunningTriton) -> ServeDocument:
    """Return the document of a server that is ready."""
    return ServeDocument(
        repository=served.uri,
        version=running.version,
        flavour=running.flavour,
        http_url=running.http_url,
        grpc_url=running.grpc_url,
        metrics_url=running.metrics_url,
        entries=running.loaded,
        text_entries=tuple(name for name in served.text_entries if name in running.loaded),
        failures=dict(running.failures),
    )


def render_serve(out: Output, document: ServeDocument) -> None:
    """Print where the server listens, what it serves, and a request to paste."""
    out.line(f"ready: Triton {document.version} ({document.flavour}) serves {document.repository}", style="bold green")
    out.line(f"  HTTP {document.http_url}   gRPC {document.grpc_url}   metrics {document.metrics_url}")
    out.line(f"  entries: {', '.join(document.entries)}")
    for name, reason in document.failures.items():
        out.line(f"  not loaded: {name}: {reason}", style="yellow")
    if document.text_entries:
        name = document.text_entries[0]
        out.line(f'try it: prep client "The harbour was quiet." --model {name} --server {document.grpc_url}')
    out.line("Ctrl-C ends it")
