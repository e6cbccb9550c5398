"""The process of a Triton that somebody else started on this machine, by the port that it listens on."""

import os
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

from prep_triton.bench.processes import PROC

_PROGRAM = "tritonserver"
_LISTENING = "0A"  # TCP_LISTEN, of the kernel's include/net/tcp_states.h


def find_local_server(address: str, proc: Path = PROC) -> int | None:
    """Return the process that serves HOST:PORT, where that is a Triton of this machine.

    A container's is found too, where it listens on the port of that number inside. None where the host is not this
    machine's loopback (a tunnel's end is there as well, so a process of Triton has to listen), or where several
    processes might be meant.
    """
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if not (port.isdecimal() and _is_loopback(host.strip("[]"))):
        return None
    held = {
        pid: _holds(proc / str(pid), inodes)
        for pid in _list_servers(proc)
        if (inodes := set(_list_listening(proc / str(pid), int(port))))
    }
    candidates = [pid for pid, holds in held.items() if holds] or [pid for pid, holds in held.items() if holds is None]
    return candidates[0] if len(candidates) == 1 else None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _list_servers(proc: Path) -> Iterator[int]:
    with suppress(OSError):
        for name in os.listdir(proc):  # noqa: PTH208 - a folder of thousands
            with suppress(OSError):
                if name.isdecimal() and (proc / name / "comm").read_text(encoding="utf-8").strip() == _PROGRAM:
                    yield int(name)


def _list_listening(process: Path, port: int) -> Iterator[str]:
    """Yield the inodes of the sockets that listen on a port in a process's network; see proc(5), /proc/net/tcp."""
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (process / "net" / table).read_text(encoding="ascii", errors="replace").splitlines()[1:]:
                fields = line.split()
                if len(fields) > 9 and fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _holds(process: Path, inodes: set[str]) -> bool | None:
    """Whether a process has one of some sockets; None where its files may not be read, as of another user's."""
    sockets = {f"socket:[{inode}]" for inode in inodes}
    try:
        names = os.listdir(process / "fd")  # noqa: PTH208
    except OSError:
        return None
    for name in names:
        with suppress(OSError):
            if os.readlink(process / "fd" / name) in sockets:  # noqa: PTH115 - it leads nowhere
                return True
    return False
