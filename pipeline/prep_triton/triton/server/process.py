"""Runs a real Triton for as long as a `with` block.

The server is started in explicit mode and the entries are loaded one by one, so that one entry that
cannot load (a plan without a GPU) neither takes the others down nor hides why.
"""

import http.client
import json
import logging
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from prep_triton.errors import RepositoryError, ServerError
from prep_triton.progress import Progress, ignore_progress
from prep_triton.scratch import scratch_folder
from prep_triton.triton.server.client import OUT_OF_TIME, TIMEOUT_HINT, TritonClient
from prep_triton.triton.server.environment import server_environment
from prep_triton.triton.server.installation import Installation, prepare_installation
from prep_triton.triton.server.log import parse_errors, parse_refusals, read_log
from prep_triton.triton.server.ports import FREE_PORTS, HOST, Ports, are_open, choose_ports
from prep_triton.triton.server.served_copy import lay_out_repository

log = logging.getLogger(__name__)

LAUNCHER_PATH = Path(__file__).parent / "launcher.py"
READY_TIMEOUT_S = 120.0
STOP_GRACE_S = 5.0
PORT_ATTEMPTS = 5
POLL_INTERVAL_S = 0.05
PORT_TAKEN = "already in use"


@dataclass(frozen=True)
class RunningTriton:
    """A server that answers.

    `loaded` are the entries it serves; `failures` says of each other one why not, in the server's words.
    """

    http_url: str
    grpc_url: str
    metrics_url: str
    version: str
    flavour: str
    pid: int
    log_path: Path
    loaded: tuple[str, ...] = ()
    failures: Mapping[str, str] = field(default_factory=dict)

    def check_loaded(self) -> None:
        """Raise unless every entry was loaded.

        Raises:
            ServerError: Names each entry that was not, and why.
        """
        if self.failures:
            message = "; ".join(f"{name}: {reason}" for name, reason in self.failures.items())
            raise ServerError(f"Triton {self.version} did not load {message}", hint="assemble these entries again")


@contextmanager
def run_triton(
    repository_uri: str,
    *,
    entries: Sequence[str] | None = None,
    ports: Ports = FREE_PORTS,
    arguments: Sequence[str] = (),
    timeout_s: float = READY_TIMEOUT_S,
    progress: Progress = ignore_progress,
) -> Iterator[RunningTriton]:
    """Start a Triton on loopback, load entries, and end it with the block, whatever happens in it.

    Args:
        repository_uri: A folder, or ``gs://bucket/prefix`` (also of an emulator that
            STORAGE_EMULATOR_HOST names).
        entries: The entries to load; None loads every one that the server finds.
        ports: Which ports to listen on.
        arguments: More of the server's own arguments, such as ``--rate-limit=execution_count``.
        timeout_s: How long the server may take to start, and each entry to load.
        progress: Is called with what is being waited for.

    A folder is served through links and, of entries with Python code, a copy: Python writes its bytecode beside a
    module, and model.py may write what it likes.

    The server also ends when the thread that entered the block dies, by ``kill -9`` too; what lies in TMPDIR and in
    shared memory goes then with the next server.

    Raises:
        ServerError: No server here, a port is taken, or it died; carries its last error lines.
        RepositoryError: The folder does not exist.
    """
    repository = _check_repository(repository_uri)
    with ExitStack() as stack:
        folder = stack.enter_context(scratch_folder("triton", also_remove=_remove_shared_memory))
        served = repository if "://" in repository else lay_out_repository(Path(repository), folder / "repository")
        installation = prepare_installation(folder, shm_prefix=_shared_memory_prefix(folder))
        installation = replace(installation, arguments=(*installation.arguments, *arguments))
        progress("starting Triton")
        server = _start_on_free_ports(installation, served, folder, ports, timeout_s)
        stack.callback(_stop_server, server.started)
        running = _load_entries(server, entries, installation.flavour, timeout_s, progress)
        failures = {name: reason.replace(served, repository) for name, reason in running.failures.items()}
        yield replace(running, failures=failures)


@dataclass(frozen=True)
class _Server:
    """A started server and where it listens."""

    started: subprocess.Popen[bytes]
    ports: Mapping[str, int]
    server_id: str
    log_path: Path


def _check_repository(uri: str) -> str:
    if "://" in uri:
        return uri
    if not Path(uri).is_dir():
        raise RepositoryError(f"{uri} is not a folder", hint="make a repository with `prep assemble`")
    return str(Path(uri).absolute())


def _start_on_free_ports(
    installation: Installation, repository: str, folder: Path, ports: Ports, timeout_s: float
) -> _Server:
    for attempt in range(PORT_ATTEMPTS):
        chosen = choose_ports(ports)
        server = _start_server(installation, repository, folder / f"server-{attempt}.log", chosen)
        try:
            _wait_until_ready(server, timeout_s)
        except BaseException as err:
            _stop_server(server.started)
            # Another program may take a port between our look and the server's bind.
            if isinstance(err, _PortTakenError) and attempt + 1 < PORT_ATTEMPTS:
                log.info("a port was taken meanwhile; trying others")
                continue
            raise
        return server
    raise AssertionError("the last attempt returns or raises")


class _PortTakenError(ServerError):
    """The server could not bind one of its ports."""


def _start_server(installation: Installation, repository: str, log_path: Path, ports: Mapping[str, int]) -> _Server:
    server_id = f"prep-{secrets.token_hex(4)}"
    command = [
        str(installation.program_path),
        f"--id={server_id}",
        f"--model-repository={repository}",
        "--model-control-mode=explicit",
        "--strict-readiness=false",
        "--disable-auto-complete-config",  # what was generated has to be complete
        f"--exit-timeout-secs={STOP_GRACE_S:.0f}",
    ]
    for name, port in ports.items():
        command += [f"--{name}-address={HOST}", f"--{name}-port={port}"]
    environment = server_environment(installation, repository, log_path.parent)
    launch = [sys.executable, "-I", "-S", str(LAUNCHER_PATH), str(os.getpid())]
    with log_path.open("wb") as stream:
        started = subprocess.Popen(
            [*launch, *command, *installation.arguments],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C is ours to pass on
        )
    return _Server(started, ports, server_id, log_path)


def _wait_until_ready(server: _Server, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if server.started.poll() is not None:
            raise _error_of_death(server)
        if _describe_running(server.ports["http"]).get("name") == server.server_id and are_open(server.ports):
            return
        time.sleep(POLL_INTERVAL_S)
    last = parse_errors(read_log(server.log_path), limit=1)
    said = f"; its last line: {last[0]}" if last else ""
    raise ServerError(
        f"Triton was not ready within {timeout_s:g} s{said}",
        hint="check that the repository can be reached, or allow more time with --timeout-s",
    )


def _error_of_death(server: _Server) -> ServerError:
    lines = parse_errors(read_log(server.log_path))
    kind = _PortTakenError if any(PORT_TAKEN in line.lower() for line in lines) else ServerError
    return kind(
        f"Triton ended with exit status {server.started.returncode}; its last lines:\n"
        + ("\n".join(lines) or "(it wrote nothing)"),
        hint="correct what the last line names; `prep doctor` checks the server itself",
    )


def _describe_running(http_port: int) -> dict[str, str]:
    """Return the server's metadata, or nothing while it does not answer yet."""
    connection = http.client.HTTPConnection(HOST, http_port, timeout=5)
    try:
        connection.request("GET", "/v2")
        metadata = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    finally:
        connection.close()
    return metadata if isinstance(metadata, dict) else {}


def _load_entries(
    server: _Server, entries: Sequence[str] | None, flavour: str, timeout_s: float, progress: Progress
) -> RunningTriton:
    address = {name: f"{HOST}:{port}" for name, port in server.ports.items()}
    loaded, failures = [], {}
    with TritonClient(address["grpc"], timeout_s=timeout_s) as client:
        names = client.list_entries() if entries is None else list(entries)
        for index, name in enumerate(names):
            progress(f"loading {name}", index / len(names))
            reason = client.load_entry(name)
            if reason == OUT_OF_TIME:
                raise ServerError(
                    f"Triton did not load {name} within {timeout_s:g} s",
                    hint=TIMEOUT_HINT,
                )
            if server.started.poll() is not None:
                raise _error_of_death(server)
            if reason is None:
                loaded.append(name)
            else:
                failures[name] = parse_refusals(read_log(server.log_path)).get(name, reason)
        version = client.server_version()
    return RunningTriton(
        http_url=f"http://{address['http']}",
        grpc_url=address["grpc"],
        metrics_url=f"http://{address['metrics']}/metrics",
        version=version,
        flavour=flavour,
        pid=server.started.pid,
        log_path=server.log_path,
        loaded=tuple(loaded),
        failures=failures,
    )


def drain_server(running: RunningTriton) -> None:
    """Let a server end by itself, once it has answered what it began: within `STOP_GRACE_S` seconds."""
    with suppress(ProcessLookupError):
        os.kill(running.pid, signal.SIGTERM)
    give_up_at = time.monotonic() + STOP_GRACE_S + 1
    while has_not_ended(running) and time.monotonic() < give_up_at:
        time.sleep(POLL_INTERVAL_S)


def has_not_ended(running: RunningTriton) -> bool:
    """Whether the process of a server that was started here still runs."""
    return os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def _stop_server(started: subprocess.Popen[bytes]) -> None:
    """End a server and its group by force: it writes nothing, and its own gentle end takes it two seconds and more."""
    with suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGKILL)
    started.wait()


def _shared_memory_prefix(folder: Path) -> str:
    return f"{folder.name}-"


def _remove_shared_memory(folder: Path) -> None:
    """Remove what the killed Python backend of a server, by the server's folder, leaves in shared memory."""
    for leftover in Path("/dev/shm").glob(f"{_shared_memory_prefix(folder)}*"):  # noqa: S108 - where POSIX shared memory lies on Linux
        leftover.unlink(missing_ok=True)
