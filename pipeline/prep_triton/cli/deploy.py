"""`prep deploy`: what serves a release on GKE."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from prep_triton.cli.choices import complete
from prep_triton.cli.completions import complete_release, complete_target
from prep_triton.cli.exclusive import check_alone
from prep_triton.cli.groups import expand_groups, spec_from_flags
from prep_triton.cli.options import OutputOptions, ReleaseOption
from prep_triton.cli.output import session

DEFAULT_FOLDER = Path("deploy")


@dataclass(frozen=True)
class DeploymentOptions:
    """How a release is served on GKE: the keys of `DeploymentSpec`."""

    name: Annotated[str, typer.Option(help="Name of the Service and prefix of the Deployments.")] = "triton"
    namespace: Annotated[str, typer.Option(help="Namespace of the cluster.")] = "triton"
    replicas: Annotated[str, typer.Option(metavar="MIN,MAX", help="Fewest and most servers of each GPU type.")] = "1,4"
    gpus: Annotated[
        list[str] | None,
        typer.Option(
            "--gpu",
            metavar="GPU",
            help="GPU type to serve on (repeatable). [those of the release]",
            autocompletion=complete("gpus"),
        ),
    ] = None
    service_account: Annotated[
        str | None, typer.Option(metavar="EMAIL", help="Google service account that reads the release.")
    ] = None
    gateway: Annotated[
        str,
        typer.Option(help="What lets requests into the cluster: {gateways}.", autocompletion=complete("gateways")),
    ] = "none"
    gateway_class: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS",
            help="Class of GKE's Gateway: {gateway_classes}. [gke-l7-rilb, reached from the VPC alone]",
            autocompletion=complete("gateway_classes"),
        ),
    ] = None
    host: Annotated[
        str | None, typer.Option(help="Host that the gateway answers for, such as bert.example.com; * for every host.")
    ] = None
    tls_secret: Annotated[
        str | None, typer.Option(metavar="SECRET", help="Secret with the gateway's certificate: HTTPS on 443.")
    ] = None
    triton: Annotated[
        str | None,
        typer.Option(
            "--target",
            metavar="YY.MM",
            help="Triton release to run, such as 25.08. [that of the plans]",
            autocompletion=complete_target,
        ),
    ] = None
    model_loading: Annotated[
        str,
        typer.Option(
            help="How servers get the models: {model_loadings}; Triton's own copy, or Cloud Storage FUSE.",
            autocompletion=complete("model_loadings"),
        ),
    ] = "copy"
    priority_class: Annotated[str | None, typer.Option(help="PriorityClass of the servers. [the cluster's]")] = None
    canary: Annotated[
        int | None, typer.Option(metavar="PERCENT", help="Percentage of requests for a candidate, 1 to 99.")
    ] = None
    canary_release: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The candidate of --canary. [newest]", autocompletion=complete_release),
    ] = None
    spot: Annotated[
        bool, typer.Option("--spot", help="Ask for Spot nodes by a ComputeClass, on demand where there are none.")
    ] = False
    gpu_sharing: Annotated[
        str | None,
        typer.Option(
            metavar="HOW",
            help="Let servers share a GPU: {gpu_sharings}. [a GPU each]",
            autocompletion=complete("gpu_sharings"),
        ),
    ] = None
    gpu_clients: Annotated[
        int | None, typer.Option(metavar="N", help="Servers that share a GPU with --gpu-sharing, 2 to 48.")
    ] = None
    autoscaler: Annotated[
        str,
        typer.Option(
            help="What answers the autoscaler: {autoscalers}, which GKE >= 1.35.1 has.",
            autocompletion=complete("autoscalers"),
        ),
    ] = "stackdriver"
    cluster: Annotated[
        str | None, typer.Option(help="Name of the cluster, for stackdriver, where a project has several.")
    ] = None
    waiting_requests: Annotated[
        int | None,
        typer.Option(metavar="N", help="Average number of waiting requests at a server that adds another. [8]"),
    ] = None
    monitoring: Annotated[
        str,
        typer.Option(
            metavar="managed|operator|none",
            help="Alert rules and a dashboard: for GKE's managed Prometheus, Prometheus' operator, or none.",
        ),
    ] = "managed"


@expand_groups
def deploy(
    uri: Annotated[str, typer.Argument(help="gs://bucket/prefix, or a release's URI.")],
    release: ReleaseOption = None,
    options: DeploymentOptions = DeploymentOptions(),
    bench: Annotated[
        Path | None,
        typer.Option(metavar="RUN.json", help="Run of prep bench with a --slo to take autoscaling and sizes from."),
    ] = None,
    folder: Annotated[Path, typer.Option("--output", "-o", help="Folder of the Kustomize base.")] = DEFAULT_FOLDER,
    force: Annotated[
        bool, typer.Option("--force", help="Replace files that prep did not write, or that were changed since.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the objects for kubectl diff -f -, and write nothing.")
    ] = False,
    triton_tag: Annotated[str | None, typer.Option("--triton", hidden=True)] = None,
    istio: Annotated[bool | None, typer.Option("--istio/--no-istio", hidden=True)] = None,
    output: OutputOptions = OutputOptions(),
) -> None:
    """Write a Kustomize base that serves a release on GKE.

    The base holds namespace, servers, autoscaler and, where one is asked for, a gateway.

    \b
    Examples:
      prep deploy gs://bucket/models -o deploy --service-account triton@project.iam.gserviceaccount.com
      prep deploy gs://bucket/models --release 20260131 --target 25.08 --gpu t4
      prep deploy gs://bucket/models --gateway gateway-api --host bert.example.com --tls-secret bert-tls
      prep deploy gs://bucket/models --gateway istio --host bert.example.com --dry-run
      prep deploy gs://bucket/models --model-loading fuse
      prep deploy gs://bucket/models --spot --gpu-sharing time-sharing --gpu-clients 4
      prep deploy gs://bucket/models --gateway istio --host bert.example.com --canary 10
      prep deploy gs://bucket/models --bench run.json
    """
    with session(output) as out:
        from prep_triton.cli.documents.deploy import DeployDocument, render_deploy
        from prep_triton.deploy.request import DeploymentSpec
        from prep_triton.run.deployment import plan_deployment, save_deployment

        if dry_run:
            check_alone("--dry-run", {"--force": force})
        if istio is not None:
            flag, instead = ("--istio", "--gateway istio") if istio else ("--no-istio", "--gateway none, the default")
            check_alone(flag, {"--gateway": options.gateway != "none"})
            out.message(f"note: {flag} is an older name of {instead}")
        spec = spec_from_flags(
            DeploymentSpec, options, triton=options.triton or triton_tag, gateway="istio" if istio else None
        )
        base = plan_deployment(uri, spec, release, bench)
        written = [] if dry_run else save_deployment(base, folder, force=force)
        document = DeployDocument(
            **dict(base),
            service_account=spec.service_account,
            output=folder,
            written=tuple(written),
            dry_run=dry_run,
        )
        out.show(document, render_deploy)
