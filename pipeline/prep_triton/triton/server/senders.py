"""The protocol that a load is sent over."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

from prep_triton.triton.server.client import TritonClient, grpc_address_from_url
from prep_triton.triton.server.http_client import HttpTritonClient
from prep_triton.triton.server.http_connections import http_address_from_url
from prep_triton.triton.server.http_load import HttpLoadConnection
from prep_triton.triton.server.load import LoadConnection, ServerClient

Protocol = Literal["grpc", "http"]


@contextmanager
def connect_client(url: str, protocol: Protocol, *, timeout_s: float) -> Iterator[ServerClient]:
    """Connect to a server over a protocol, for as long as the block.

    Raises:
        SpecError: The URL is not the address of a server.
    """
    if protocol == "http":
        with HttpTritonClient(http_address_from_url(url), timeout_s=timeout_s) as http_client:
            yield http_client
        return
    with TritonClient(grpc_address_from_url(url), timeout_s=timeout_s) as client:
        yield client


def render_requests(client: ServerClient, requests: Sequence[bytes]) -> dict[bytes, bytes] | None:
    """Return what goes over the wire for each serialised request; None where that is the request itself, over gRPC."""
    if isinstance(client, HttpTritonClient):
        return {request: client.rendered[request] for request in requests}
    return None


@contextmanager
def open_sender(
    address: str, rendered: Mapping[bytes, bytes] | None, *, timeout_s: float
) -> Iterator[LoadConnection | HttpLoadConnection]:
    """Open what sends serialised requests, for as long as the block.

    Args:
        address: ``host:port`` of the protocol.
        rendered: What `render_requests` returned.
        timeout_s: The longest wait for an answer.
    """
    if rendered is not None:
        with HttpLoadConnection(address, rendered, timeout_s=timeout_s) as http_sender:
            yield http_sender
        return
    with LoadConnection(address, timeout_s=timeout_s) as sender:
        yield sender
