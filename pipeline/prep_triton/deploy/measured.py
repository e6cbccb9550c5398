"""What a benchmark says of one server, and what of that goes into manifests.

::

    MeasuredServer    handed in: the highest load of each entry that was shown to hold the service level
    Measurement       what a pool of nodes takes of it: targets of the autoscaler, requests of a container

Each number stands in the manifests beside where it is from, as annotations.
"""

import logging
import math
import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from prep_triton.artifact import Record
from prep_triton.deploy.accelerators import Pool
from prep_triton.errors import SpecError

log = logging.getLogger(__name__)

# Of the rate that a server holds: it takes minutes until there is another one.
RATE_SHARE = 0.7
# Fewer waiting requests on average are no queue, and the noise of a scrape.
LEAST_WAITING = 1.0
# Over the most memory that was seen: a longer run, longer texts and a fuller cache take more.
MEMORY_MARGIN = 1.25
LEAST_CPU_CORES = 0.1

# Of the annotations that say where a number is from.
PREFIX = "prep"
INFERENCES_ANNOTATION = f"{PREFIX}/inferences-per-second"
_MIB = 1 << 20
_Amount = Annotated[float, Field(ge=0.0)]
_Positive = Annotated[float, Field(gt=0.0)]


class MeasuredEntry(Record):
    """The highest load at which an entry was shown to hold the service level.

    `inferences_per_s` is what one server answered there (rows, as Triton counts them), `waiting_requests` how many
    waited in its queues on average. `cpu_cores` are the server's busy cores there, None where not known. `verdict` and
    `load` are in words.
    """

    name: str
    load: str
    verdict: str
    inferences_per_s: _Positive
    waiting_requests: _Amount
    cpu_cores: _Positive | None = None


class MeasuredServer(Record):
    """What a run of `prep bench` says of a server of the release.

    `run` names its file and day, `machine` what it ran on, `command` how to run it again. `gpu` is the GPU's name as
    NVML has it, None where the machine has none; `is_machine_known` is False where the server ran elsewhere than
    what measured it. `memory_mib` is the most memory that the server held; None where it is not known, or where the
    server did not hold all entries of the release, for the reason `memory_unknown`.
    """

    run: str
    command: str
    slo: str
    machine: str
    is_machine_known: bool
    gpu: str | None = None
    entries: Annotated[tuple[MeasuredEntry, ...], Field(min_length=1)]
    memory_mib: _Positive | None = None
    memory_unknown: str = ""


class Measurement(Record):
    """What a pool takes of a measured server: None where that is not known, or not for such a pool.

    `inferences_per_s` has the autoscaler's target for each entry. `annotations` say where the numbers are from: those
    of the autoscaler, and those of the servers.
    """

    waiting_requests: _Positive
    inferences_per_s: dict[str, _Positive]
    cpu_millicores: int | None
    memory_mib: int | None
    scaling_annotations: dict[str, str]
    server_annotations: dict[str, str]


def choose_pools(measured: MeasuredServer, pools: Sequence[Pool]) -> list[Pool]:
    """Return the pools of which a measured server is one; a warning names the others.

    Raises:
        SpecError: It is none of them: nothing that was measured holds there.
    """
    if not measured.is_machine_known:
        log.warning(
            "%s measured a server on another machine, of which it knows nothing: CPU and memory are estimates",
            measured.run,
        )
        return list(pools)
    fitting = [pool for pool in pools if pool.gpu is None or is_gpu(measured.gpu, pool.gpu)]
    if not fitting:
        wanted = " and ".join(pool.gpu for pool in pools if pool.gpu)
        raise SpecError(
            f"{measured.run} was measured {describe_gpu(measured.gpu)}, and the release is served on {wanted}: neither "
            "its rate nor its CPU and memory hold there",
            hint=f"measure the release on a machine with {wanted}, or leave --bench out",
        )
    for pool in pools:
        if pool not in fitting:
            log.warning(
                "%s was measured %s: servers on %s keep prep's own numbers",
                measured.run,
                describe_gpu(measured.gpu),
                pool.gpu,
            )
    return fitting


def is_gpu(name: str | None, gpu: str) -> bool:
    """Whether a GPU as NVML names it (``Tesla T4``, ``NVIDIA A100-SXM4-40GB``) is one of GKE's (``t4``, ``a100``)."""
    if name is None:
        return False
    words = re.findall("[a-z0-9]+", name.lower())
    model, _, size = gpu.partition("-")  # a100-80gb
    joined = "".join(words)
    return (model in words or (len(model) > len("h200") and model in joined)) and (not size or size in joined)


def describe_gpu(name: str | None) -> str:
    """Say on what GPU something was measured."""
    return f"on {name}" if name else "without a GPU"


def measure_pool(measured: MeasuredServer, size_bytes: int, chosen_waiting: int | None = None) -> Measurement:
    """Return what a pool takes of a measured server.

    The queue at the knee of each entry is where its latency leaves the level: the smallest of them adds a server. The
    rate is kept below the knee, at `RATE_SHARE` of it. Memory has a margin, and room for what a runtime holds twice
    while it loads: that was over before anything was measured.

    Args:
        measured: What was measured.
        size_bytes: Of all entries' files.
        chosen_waiting: The waiting requests that the user chose; they win.
    """
    waiting = min(entry.waiting_requests for entry in measured.entries)
    cores = [entry.cpu_cores for entry in measured.entries if entry.cpu_cores is not None]
    cpu = max(LEAST_CPU_CORES, *cores) if cores else None
    loading_mib = math.ceil(size_bytes / _MIB)
    seen = measured.memory_mib
    return Measurement(
        waiting_requests=max(LEAST_WAITING, waiting) if chosen_waiting is None else chosen_waiting,
        inferences_per_s={entry.name: entry.inferences_per_s * RATE_SHARE for entry in measured.entries},
        cpu_millicores=None if cpu is None else math.ceil(cpu * 10) * 100,
        memory_mib=None if seen is None else math.ceil(seen * MEMORY_MARGIN) + loading_mib,
        scaling_annotations=_describe_scaling(measured, waiting, chosen_waiting),
        server_annotations=_describe_server(measured, cpu, loading_mib),
    )


def _describe_run(measured: MeasuredServer) -> dict[str, str]:
    return {
        f"{PREFIX}/bench-run": measured.run,
        f"{PREFIX}/bench-command": measured.command,
        f"{PREFIX}/bench-machine": measured.machine,
        f"{PREFIX}/service-level": measured.slo,
        f"{PREFIX}/bench-points": "; ".join(
            f"{entry.name} at {entry.load}: {entry.inferences_per_s:.1f} inferences/s, {entry.verdict}"
            for entry in measured.entries
        ),
    }


def _describe_scaling(measured: MeasuredServer, waiting: float, chosen: int | None) -> dict[str, str]:
    words = f"{waiting:.2f} waited on average at the highest load that holds the level"
    if chosen is not None:
        words = f"{chosen} was chosen; {words}"
    elif waiting < LEAST_WAITING:
        words += f"; {LEAST_WAITING:g} is the least that adds a server"
    rates = "; ".join(
        f"{entry.name}: {RATE_SHARE:.0%} of the {entry.inferences_per_s:.1f} that a server holds"
        for entry in measured.entries
    )
    return {
        **_describe_run(measured),
        f"{PREFIX}/waiting-requests": words,
        INFERENCES_ANNOTATION: rates,
    }


def _describe_server(measured: MeasuredServer, cpu: float | None, loading_mib: int) -> dict[str, str]:
    cpu_words = "an estimate: the run does not have the server's CPU"
    if cpu is not None:
        cpu_words = f"{cpu:.2f} cores were busy at the highest load that holds the level"
    memory_words = f"an estimate: {measured.memory_unknown}"
    if measured.memory_mib is not None:
        memory_words = (
            f"{measured.memory_mib:,.0f} MiB were held at most; {MEMORY_MARGIN - 1:.0%} more, and {loading_mib:,} MiB "
            "of models that loading holds twice; the limit has a full /dev/shm more"
        )
    return {**_describe_run(measured), f"{PREFIX}/cpu": cpu_words, f"{PREFIX}/memory": memory_words}
