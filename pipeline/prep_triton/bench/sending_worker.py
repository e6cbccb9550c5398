"""One of several processes that send a load; `prep_triton.bench.sending_processes` starts it.

It imports gRPC and numpy and nothing else that is heavy. Over one connection it takes shares of loads: it says that it
is ready, hears when to begin on the clock that all processes of a host share, and sends back what became of each
request while it goes on, until it is told to finish. It ends when the connection does.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from prep_triton.bench.generator import ClosedLoop, OpenLoop, Sender
from prep_triton.child_process import end_with_parent
from prep_triton.triton.server.senders import open_sender

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

_SLICE_S = 0.1
# What is sent: one of these, or samples.
READY, DONE, FINISH = "ready", "done", "finish"


@dataclass(frozen=True)
class Share:
    """What one process sends, in turn: `concurrency` requests at a time, or at `moments_s` from the beginning.

    `rendered` is what goes over the wire for each request, where that is not the request itself.
    """

    address: str
    timeout_s: float
    requests: tuple[bytes, ...]
    concurrency: int
    moments_s: "Array | None" = None
    rendered: dict[bytes, bytes] | None = None

    def connect(self) -> AbstractContextManager[Sender]:
        """Open what sends it, for as long as the block."""
        return open_sender(self.address, self.rendered, timeout_s=self.timeout_s)


def make_loop(share: Share, sender: Sender) -> ClosedLoop | OpenLoop:
    """Return the loop of a share, or of a whole load."""
    if share.moments_s is None:
        return ClosedLoop(sender, share.requests, share.concurrency)
    return OpenLoop(sender, share.requests, share.moments_s)


def serve_shares(descriptor: int, parent_pid: int) -> None:
    """Send shares of loads until the connection ends."""
    end_with_parent(parent_pid)
    with Connection(descriptor) as link:
        try:
            while True:
                _send_shares(link, link.recv())
        except (EOFError, ConnectionError):
            os._exit(0)  # nobody listens: what is under way is of no use


def _send_shares(link: Connection, shares: Sequence[tuple[int, Share]]) -> None:
    """Send shares of streams at once, each with the number of its stream."""
    with ExitStack() as stack:
        senders = [stack.enter_context(share.connect()) for _, share in shares]
        loops = [make_loop(share, sender) for (_, share), sender in zip(shares, senders, strict=True)]
        streams = [_Told(number, loop) for (number, _), loop in zip(shares, loops, strict=True)]
        link.send(READY)
        began = link.recv()
        for loop in loops:
            loop.start(began)
        while not link.poll(_SLICE_S):
            for stream in streams:
                stream.tell(link)
        link.recv()
        for loop in loops:
            loop.end()
        for stream in streams:
            stream.loop.finish()
            stream.tell(link)
        link.send(DONE)


@dataclass
class _Told:
    """A stream, and how many of its samples were sent back."""

    number: int
    loop: ClosedLoop | OpenLoop
    count: int = 0

    def tell(self, link: Connection) -> None:
        """Send back what is new as plain tuples, which cost a third of what pickled records do."""
        samples = self.loop.samples[self.count :]
        self.count += len(samples)
        if samples:
            rows = [(sample.intended_s, sample.sent_s, sample.ended_s, sample.error) for sample in samples]
            link.send((self.number, rows))


if __name__ == "__main__":
    serve_shares(int(sys.argv[1]), int(sys.argv[2]))
