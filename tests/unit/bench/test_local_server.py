"""Which process is the Triton that a loopback address means: files as Linux writes them, and a real socket."""

import os
import socket
from pathlib import Path

import pytest
from prep_triton.bench.local_server import find_local_server

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def line(port: int, inode: int, state: str = "0A") -> str:
    queues = "00000000:00000000 00:00000000 00000000"
    return f"   0: 0100007F:{port:04X} 00000000:0000 {state} {queues}     0        0 {inode} 1\n"


def add_process(proc: Path, pid: int, table: str, *, inodes: tuple[int, ...] | None = (), name: str = "tritonserver"):
    """Write a process; its sockets cannot be read where `inodes` is None."""
    folder = proc / str(pid)
    (folder / "net").mkdir(parents=True)
    (folder / "comm").write_text(f"{name}\n")
    (folder / "net" / "tcp").write_text(HEAD + table)
    if inodes is not None:
        (folder / "fd").mkdir()
        for number, inode in enumerate(inodes):
            (folder / "fd" / str(number)).symlink_to(f"socket:[{inode}]")


def test_the_process_that_listens_is_found(tmp_path: Path):
    table = line(8001, 77) + line(9001, 78)
    add_process(tmp_path, 10, table, inodes=(5, 77))
    add_process(tmp_path, 11, table, inodes=(78,))
    add_process(tmp_path, 12, table, inodes=(77,), name="python")
    (tmp_path / "self").mkdir()
    for address in ("localhost:8001", "127.0.0.1:8001", "[::1]:8001", "http://localhost:8001"):
        assert find_local_server(address, tmp_path) == 10
    assert find_local_server("localhost:9001", tmp_path) == 11
    for address in ("gpu-host:8001", "10.0.0.1:8001", "localhost:8002", "localhost:", "localhost"):
        assert find_local_server(address, tmp_path) is None


def test_of_a_container_the_port_inside_counts(tmp_path: Path):
    """Its sockets are another user's: it is the one, as long as no other may be."""
    add_process(tmp_path, 20, line(8001, 77), inodes=None)
    add_process(tmp_path, 21, line(8001, 90, state="01"), inodes=None)
    assert find_local_server("localhost:8001", tmp_path) == 20
    add_process(tmp_path, 22, line(8001, 91), inodes=None)
    assert find_local_server("localhost:8001", tmp_path) is None
    add_process(tmp_path, 23, line(8001, 92), inodes=(92,))
    assert find_local_server("localhost:8001", tmp_path) == 23


def test_a_tunnels_end_is_no_server():
    with socket.create_server(("127.0.0.1", 0)) as tunnel:
        assert find_local_server(f"127.0.0.1:{tunnel.getsockname()[1]}") is None


def test_a_real_socket_is_seen(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("prep_triton.bench.local_server._PROGRAM", Path("/proc/self/comm").read_text().strip())
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert find_local_server(f"127.0.0.1:{server.getsockname()[1]}") == os.getpid()
