"""The GKE side of a release, as a Kustomize base.

::

    request.py        what is asked for: DeploymentSpec, and ServedRelease, the release as its servers see it
    fleet.py          which container serves the release, on which pools of nodes; accelerators.py has GKE's GPUs
    workload.py       Deployment and PodDisruptionBudget: a pool's servers
    sizes.py          what each takes of memory and disk
    model_loading.py  how it gets its models: Triton's copy, or a mounted bucket
    lifecycle.py      how it ends, and its proxy with it
    namespace.py      Namespace, where it is not default
    scaling.py        HorizontalPodAutoscaler and PodMonitoring: how many servers, by which figures
    monitoring.py     alert rules on Triton's metrics; dashboard.py has Grafana's dashboard
    measured.py       what a benchmark says of one server, and what of that goes into these
    nodes.py          Spot before on demand, and shared GPUs: ComputeClass and node selectors
    network.py        Services, ServiceAccount, and the paths that clients use
    istio.py          Istio's Gateway and VirtualService
    gateway_api.py    GKE's Gateway, HTTPRoutes, health check and time limits
    names.py          the names, labels and ports by which these refer to each other
    canary.py         a candidate beside the release
    objects.py        all objects of a base; split_requests: who gets which part of the requests
    notes.py          what a file's comments say that its fields do not
    base.py           plan_base(release, spec): all of them as text
    stream.py         render_stream(base): as Kustomize would build it, for a dry run
    folder.py         save_base(base, folder): never over a file that somebody changed
"""
