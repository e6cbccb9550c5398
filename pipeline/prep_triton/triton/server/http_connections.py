"""HTTP/1.1 connections to a server that are kept alive, each for one request at a time."""

import http.client
import socket
import threading
from urllib.parse import urlsplit

from prep_triton.errors import SpecError

DEFAULT_HTTP_PORT = 8000
# Of a connection that was kept, and that the server closed meanwhile: nobody has seen the request.
_CLOSED_MEANWHILE = (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected)


class ConnectionsClosedError(OSError):
    """The connections were closed while a request was under way."""


def http_address_from_url(url: str) -> str:
    """Return ``host:port`` of a server's HTTP service.

    Args:
        url: ``host:port`` or ``host``, with or without ``http://``.

    Raises:
        SpecError: It is not the address of a server, or of one that wants TLS.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port or DEFAULT_HTTP_PORT
    except ValueError:
        host, port = None, 0
    if not host:
        raise SpecError(f"'{url}' is not the address of a server", hint="write --server HOST:PORT (HTTP, 8000)")
    if parts.scheme != "http" or parts.path.strip("/"):
        raise SpecError(f"{url} is not plain HTTP at the server's root", hint=f"write --server {host}:{port}")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class HttpConnections:
    """Connections to one server: as many as requests are under way, and kept for the next ones."""

    def __init__(self, address: str, *, timeout_s: float) -> None:
        parts = urlsplit(f"http://{address}")
        self._place = (parts.hostname or "", parts.port or DEFAULT_HTTP_PORT)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._kept: list[socket.socket] = []
        self._used: set[socket.socket] = set()
        self._is_closed = False

    def exchange(self, message: bytes) -> tuple[int, bytes]:
        """Send a whole request, head and body; return the status and the body of the answer.

        Raises:
            ConnectionsClosedError: `close` was called.
            TimeoutError: There was no answer in time.
            OSError, http.client.HTTPException: There is no server, or its answer is none.
        """
        kept = self._take_kept()
        if kept is not None:
            try:
                return self._exchange_on(kept, message)
            except _CLOSED_MEANWHILE:
                if self._is_closed:
                    raise
        return self._exchange_on(self._connect(), message)

    def close(self) -> None:
        """Close all connections; what is under way fails."""
        with self._lock:
            self._is_closed = True
            for connection in self._used:  # its own thread closes it: a number that is reused must not be read from
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue
            kept, self._kept = self._kept, []
        for connection in kept:
            connection.close()

    def _take_kept(self) -> socket.socket | None:
        with self._lock:
            connection = self._kept.pop() if self._kept else None
            if connection is not None:
                self._used.add(connection)
            return connection

    def _connect(self) -> socket.socket:
        if self._is_closed:
            raise ConnectionsClosedError("closed")
        connection = socket.create_connection(self._place, timeout=self._timeout_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._used.add(connection)
        return connection

    def _exchange_on(self, connection: socket.socket, message: bytes) -> tuple[int, bytes]:
        is_kept = False
        try:
            connection.sendall(message)
            status, body, is_kept = _read_response(connection)
        except (OSError, http.client.HTTPException) as err:
            if self._is_closed:
                raise ConnectionsClosedError("closed") from err
            raise
        finally:
            self._give_back(connection, is_kept=is_kept)
        return status, body

    def _give_back(self, connection: socket.socket, *, is_kept: bool) -> None:
        with self._lock:
            self._used.discard(connection)
            is_kept = is_kept and not self._is_closed
            if is_kept:
                self._kept.append(connection)
        if not is_kept:
            connection.close()


def _read_response(connection: socket.socket) -> tuple[int, bytes, bool]:
    """Return the status and the body of an answer, and whether the server keeps the connection."""
    response = http.client.HTTPResponse(connection, method="POST")
    try:
        response.begin()
        body = response.read()
        return response.status, body, not response.will_close
    finally:
        response.close()
