"""The loopback ports of a server of our own."""

import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from prep_triton.errors import ServerError

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Ports:
    """Loopback ports; None takes a free one."""

    http: int | None = None
    grpc: int | None = None
    metrics: int | None = None


FREE_PORTS = Ports()


def choose_ports(ports: Ports) -> dict[str, int]:
    """Return a port for each service; another program may still take one before the server binds it.

    Raises:
        ServerError: A port that was named cannot be used.
    """
    with ExitStack() as stack:  # all sockets stay open until all are chosen, so that no two get the same port
        chosen = {}
        for name in ("http", "grpc", "metrics"):
            port = getattr(ports, name)
            listener = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
            try:
                listener.bind((HOST, port or 0))
            except (OSError, OverflowError) as err:
                raise ServerError(
                    f"the {name} port {port} cannot be used: {getattr(err, 'strerror', None) or err}",
                    hint="end the program that has it, name another port, or none so that a free one is taken",
                ) from err
            chosen[name] = int(listener.getsockname()[1])
        return chosen


def are_open(ports: Mapping[str, int]) -> bool:
    """Whether every port accepts connections; metrics is the last that the server opens."""
    for port in ports.values():
        try:
            socket.create_connection((HOST, port), timeout=5).close()
        except OSError:
            return False
    return True
