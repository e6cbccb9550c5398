"""How a server ends and how its proxy ends with it: every duration of that, in seconds, is made here.

::

    preStop            DRAIN_S                       endpoints still send to a pod that began to end
    Triton             EXIT_TIMEOUT_S                requests in flight are answered; ``--exit-timeout-secs``
    the proxy          PROXY_DRAIN_S                 both of these, since it ends at its own time
    the pod            GRACE_S                       all of it, and the end of the process

A proxy of Istio is a *classic* sidecar, a container beside Triton's, or a *native* one, an init container that is
restarted (Kubernetes 1.29 and later). A classic one is told to end as the preStop begins, and closes every connection
after ``terminationDrainDuration``, 5 s unless it is set: before Triton is told at all. A native one is told after
Triton has ended, and ends at once, since it was drained by its own preStop (istio, pkg/envoy/agent.go, `terminate`:
"Agent already drained, exiting immediately"); the duration does not hold it. So one value is right for both. The
sidecar of Cloud Storage FUSE outlives Triton in either form: a classic one goes on until it is killed
(gcs-fuse-csi-driver, docs/usage.md).
"""

import json
from typing import Any

DRAIN_S = 15
EXIT_TIMEOUT_S = 30
PROXY_DRAIN_S = DRAIN_S + EXIT_TIMEOUT_S
GRACE_S = PROXY_DRAIN_S + 15


def render_lifecycle() -> dict[str, Any]:
    """Render what a server does before it is told to end: it waits until no endpoint sends to it."""
    return {"preStop": {"exec": {"command": ["/bin/sleep", str(DRAIN_S)]}}}


def render_proxy_config() -> str:
    """Render Istio's ``proxy.istio.io/config`` of a server, as JSON, which is YAML in one line.

    Triton reads the bucket as it starts, when a classic proxy may not answer yet: it is held until then. A native one
    starts first anyhow.
    """
    return json.dumps({"holdApplicationUntilProxyStarts": True, "terminationDrainDuration": f"{PROXY_DRAIN_S}s"})
