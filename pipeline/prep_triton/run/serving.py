"""A repository or a release on a Triton in the foreground, as `prep serve` has it."""

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prep_triton.artifact import RepositoryEntry
from prep_triton.errors import ServerError, SpecError
from prep_triton.progress import Progress, ignore_progress
from prep_triton.spec import TargetSpec

if TYPE_CHECKING:
    from prep_triton.triton.server.ports import Ports
    from prep_triton.triton.server.process import RunningTriton

_POLL_S = 0.5


@dataclass(frozen=True)
class ServedRepository:
    """What is served: the URI that Triton is given, its entries, and what the server is started with."""

    uri: str
    entries: Sequence[RepositoryEntry]
    arguments: Sequence[str]

    @property
    def text_entries(self) -> list[str]:
        """The names of the entries that take text."""
        return [entry.name for entry in self.entries if entry.kind == "ensemble"]


def find_served(target: str, reference: str | None = None) -> ServedRepository:
    """Find what a repository's folder, a release or a store serves.

    Raises:
        RepositoryError: There is no such repository, or it has no entry.
        SpecError, StoreError: There is no such release.
    """
    from prep_triton.publish.catalog import resolve
    from prep_triton.publish.record import artifact_from_release_entry
    from prep_triton.run.locate import find_release, folder_from_target
    from prep_triton.triton.entries.load import load_repository
    from prep_triton.triton.verify.repository import find_server_arguments

    located = find_release(target, reference)
    if located is None:
        folder = folder_from_target(target)
        entries = load_repository(folder)
        return ServedRepository(str(folder), entries, find_server_arguments(entries, str(folder)))
    release = resolve(*located)
    kept = [artifact_from_release_entry(entry) for entry in release.entries]
    return ServedRepository(release.uri, kept, release.server_arguments)


@contextmanager
def serve(
    served: ServedRepository, ports: "Ports", *, timeout_s: float, progress: Progress = ignore_progress
) -> Iterator["RunningTriton"]:
    """Run a Triton on loopback that serves a repository, and end it with the block.

    Raises:
        ServerError: There is no server here, a port is taken, it died, or it loaded nothing.
    """
    from prep_triton.triton.server.process import run_triton

    with run_triton(
        served.uri,
        entries=[entry.name for entry in served.entries],
        ports=ports,
        arguments=served.arguments,
        timeout_s=timeout_s,
        progress=progress,
    ) as running:
        if not running.loaded:
            running.check_loaded()
        yield running


def wait_for_end(running: "RunningTriton", *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait until a server ends by itself, which is a failure; whoever wants to end it interrupts.

    Raises:
        ServerError: It ended.
    """
    from prep_triton.triton.server.process import has_not_ended

    while has_not_ended(running):
        sleep(_POLL_S)
    raise ServerError("Triton ended by itself", hint="see what it wrote with -v; prep doctor checks the server itself")


def render_docker_command(served: ServedRepository, target: TargetSpec | None) -> str:
    """Return the ``docker run`` line that serves a repository in NVIDIA's stock image.

    Args:
        served: What to serve.
        target: The Triton release; the newest one in the table where None.

    Raises:
        SpecError: The release is unknown.
    """
    from prep_triton.containers import load_triton_releases
    from prep_triton.deploy.sizes import measure_shared_memory_mib
    from prep_triton.target import needs_gpu, resolve_target

    release = resolve_target(target).release if target else list(load_triton_releases().values())[-1]
    shared_mib = measure_shared_memory_mib(served.entries)  # a container has 64 MiB otherwise
    has_gpu = any(needs_gpu(entry) for entry in served.entries)
    command = ["docker", "run", "--rm", *(["--gpus=all"] if has_gpu else []), f"--shm-size={shared_mib}m"]
    command += [f"-p{port}:{port}" for port in (8000, 8001, 8002)]
    if served.uri.startswith("gs://"):
        command += ["-v", f"{Path.home()}/.config/gcloud:/root/.config/gcloud:ro"]
        repository = served.uri
    elif "://" in served.uri:
        raise SpecError(f"a container cannot reach {served.uri}", hint="name a folder, or gs://bucket/prefix")
    else:
        command += ["-v", f"{Path(served.uri).absolute()}:/models:ro"]
        repository = "/models"
    return shlex.join([*command, release.image, "tritonserver", f"--model-repository={repository}", *served.arguments])
