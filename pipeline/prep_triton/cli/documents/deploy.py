"""What `prep deploy` answers."""

from pathlib import Path

from prep_triton.cli.output import Output
from prep_triton.deploy.base import Base
from prep_triton.deploy.canary import Canary
from prep_triton.deploy.stream import render_stream


class DeployDocument(Base):
    """The Kustomize base; `written` are the files of the folder `output` that were new or changed.

    `service_account` is Google's, which reads the release; None for the cluster's own identity.
    """

    service_account: str | None
    output: Path
    written: tuple[Path, ...]
    dry_run: bool


def render_deploy(out: Output, document: DeployDocument) -> None:
    """Print the YAML in a dry run; else what was written, and how to apply it."""
    if document.dry_run:
        out.line(render_stream(document).rstrip("\n"))
        return
    triton = document.fleet.triton
    out.line(f"release {document.release} on Triton {triton.tag}, {triton.image}", style="bold")
    rows = [
        (deployment, pool.gpu or "no GPU", pool.accelerator or "")
        for deployment, pool in zip(document.deployments, document.fleet.pools, strict=True)
    ]
    out.table("", ("=deployment", "=GPU", "=node label"), rows)
    out.line(f"{len(document.files)} files in {document.output}")
    if document.measured:
        pools = ", ".join(document.measured_pools)
        out.line(f"autoscaling and sizes of {pools} from {document.measured.run}, {document.measured.slo}:")
        for entry in document.measured.entries:
            rate, waiting = entry.inferences_per_s, entry.waiting_requests
            out.line(f"  {entry.name}: {rate:.1f} inferences/s a server at {entry.load}, {waiting:.2f} waiting")
    if document.service_account is None:
        out.line("no --service-account: the servers read the bucket as the cluster's own identity", style="dim")
    if "service-grpc.yaml" in document.files:
        way = "call dns:///NAME-grpc:8001 with round_robin; the plain Service keeps a client on one server"
        out.line(f"gRPC inside the cluster: {way}", style="dim")
    if "gateway.yaml" not in document.files:
        out.line("no --gateway: the servers are reached from inside the cluster alone", style="dim")
    out.note(f"next: kubectl apply -k {document.output}")
    if document.canary:
        _render_canary(out, document, document.canary)


def _render_canary(out: Output, document: DeployDocument, canary: Canary) -> None:
    """Print who gets what, and how to go on: the pointer decides, and kubectl removes what the next base lacks."""
    servers = ", ".join(canary.deployments)
    out.line(f"canary: {canary.percent} % of the requests go to {canary.release} on Triton {canary.triton} ({servers})")
    out.note(f"to promote: prep rollback {canary.store} {canary.release} makes it current")
    out.note(
        f"then, and to give it up: run this command again without --canary, and kubectl apply -k {document.output}"
    )
    label = f"app.kubernetes.io/instance={canary.instance}"
    out.note("at last, when the gateway has followed and its servers get no more requests:")
    out.note(f"  kubectl delete {','.join(canary.kinds)} -n {document.namespace} -l {label}")
