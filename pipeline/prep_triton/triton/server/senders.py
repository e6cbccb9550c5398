"""The protocol that a load is sent over."""

from collections.abc import Iterator
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


@contextmanager
def open_sender(client: ServerClient, *, timeout_s: float) -> Iterator[LoadConnection | HttpLoadConnection]:
    """Open what sends serialised requests to the server of a client, over its protocol, for as long as the block."""
    if isinstance(client, HttpTritonClient):
        with HttpLoadConnection(client.address, client.rendered, timeout_s=timeout_s) as http_sender:
            yield http_sender
        return
    with LoadConnection(client.address, timeout_s=timeout_s) as sender:
        yield sender
