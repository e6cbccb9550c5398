"""Several processes that send one load together, where one is not enough.

The arrivals of an open loop are dealt out in turn, so that all processes together send the same seeded sequence as one
would; the requests under way of a closed loop are shared out. All begin at one moment of the clock that the processes
of a host share (CLOCK_MONOTONIC), by which the samples that come back are one list again.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import prep_triton
from prep_triton.bench.generator import Closable, ClosedLoop, Loop, OpenLoop, Sample
from prep_triton.bench.mix import LoopGroup, SenderGroup
from prep_triton.bench.sending_worker import DONE, FINISH, READY, Share, make_loop
from prep_triton.errors import GeneratorError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

# What a process takes to start on a busy machine, and what one that is told to finish takes beyond its requests.
_LONGEST_WAIT_S = 60.0
_SLICE_S = 0.1
# All processes hear when to begin well before that moment.
_LEAD_S = 0.05
_HINT = "see whether the machine ran out of memory; --processes 1 sends from prep's own process"


class SendingProcesses:
    """So many processes, which send one load after the other; a context that ends them."""

    def __init__(self, count: int) -> None:
        self.members = [_Member() for _ in range(count)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        for member in self.members:
            member.kill()


class _Member:
    """One process and the connection to it."""

    def __init__(self) -> None:
        own, other = socket.socketpair()
        # -P keeps the current folder off sys.path: a folder named prep_triton there must not be imported.
        command = [sys.executable, "-P", "-m", "prep_triton.bench.sending_worker", str(other.fileno())]
        package_root = str(Path(prep_triton.__file__).parent.parent)
        search_path = os.pathsep.join(filter(None, (package_root, os.environ.get("PYTHONPATH"))))
        with other:
            self._process = subprocess.Popen(
                [*command, str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": search_path},
                pass_fds=[other.fileno()],
                start_new_session=True,  # Ctrl-C reaches prep's own process, which ends this one
            )
        self.link = Connection(own.detach())

    def send(self, message: object) -> None:
        """Send a message.

        Raises:
            GeneratorError: The process died.
        """
        try:
            self.link.send(message)
        except OSError as err:
            raise self._error() from err

    def receive(self, timeout_s: float) -> Any:
        """Return the next message.

        Raises:
            GeneratorError: The process died, or says nothing for so long.
        """
        try:
            if self.link.poll(timeout_s):
                return self.link.recv()
        except (EOFError, OSError) as err:
            raise self._error() from err
        raise GeneratorError(f"a process that sends the load said nothing for {timeout_s:.0f} s", hint=_HINT)

    def kill(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        self.link.close()

    def _error(self) -> GeneratorError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        code = self._process.returncode
        how = f"died of signal {-code}" if code is not None and code < 0 else f"ended by itself with exit code {code}"
        return GeneratorError(f"one of the processes that send the load {how}", hint=_HINT)


@dataclass
class Stream:
    """What became of the requests of one of several streams."""

    samples: list[Sample] = field(default_factory=list)


class SplitLoops:
    """Streams on several processes: a loop, and its sender, for `prep_triton.bench.generator.measure_window`."""

    def __init__(self, members: Sequence[_Member], shares: Sequence[Share]) -> None:
        self.streams = [Stream() for _ in shares]
        self._samples: list[Sample] = []
        self._timeout_s = shares[0].timeout_s + _LONGEST_WAIT_S
        self._sending: dict[Connection, _Member] = {}
        parts: list[list[tuple[int, Share]]] = [[] for _ in members]
        for number, share in enumerate(shares):
            for own, part in zip(parts, split_share(len(members), share), strict=False):
                own.append((number, part))
        self._members = [member for member, own in zip(members, parts, strict=True) if own]
        for member, own in zip(self._members, filter(None, parts), strict=True):
            member.send(own)

    @property
    def samples(self) -> list[Sample]:
        """What is known of the requests until now.

        Raises:
            GeneratorError: A process died.
        """
        self._take(0.0)
        return self._samples

    def start(self) -> float:
        """Begin, and return when that is.

        Raises:
            GeneratorError: A process died, or does not start.
        """
        for member in self._members:
            if (message := member.receive(_LONGEST_WAIT_S)) != READY:
                raise RuntimeError(f"a process that sends the load said {message!r} before it began")
        began = time.perf_counter() + _LEAD_S
        for member in self._members:
            member.send(began)
            self._sending[member.link] = member
        return began

    def finish(self) -> None:
        """Have all send no more, and wait for what is under way.

        Raises:
            GeneratorError: A process died, or does not end.
        """
        for member in self._sending.values():
            member.send(FINISH)
        deadline = time.monotonic() + self._timeout_s
        while self._sending:
            if time.monotonic() > deadline:
                raise GeneratorError(
                    f"a process that sends the load did not end within {self._timeout_s:.0f} s", hint=_HINT
                )
            self._take(_SLICE_S)

    def close(self) -> None:
        """End the processes: nothing is waited for."""
        self._sending.clear()
        for member in self._members:
            member.kill()

    def _take(self, timeout_s: float) -> None:
        """Take what the processes sent; wait until one sent something, and so long at most."""
        ready = wait(list(self._sending), timeout_s)
        for link in [link for link in self._sending if link in ready]:
            message = self._sending[link].receive(0.0)
            if message == DONE:
                del self._sending[link]
            else:
                number, rows = message
                samples = [Sample(*row) for row in rows]
                self._samples += samples
                self.streams[number].samples += samples


@contextmanager
def open_loops(
    shares: Sequence[Share], processes: SendingProcesses | None
) -> Iterator[tuple[Loop, Closable, Sequence[ClosedLoop | OpenLoop | Stream]]]:
    """Yield what sends streams at once, what cancels them, and each of them: on threads of this process, or on others.

    Raises:
        GeneratorError: One of the others died.
    """
    if processes is not None:
        split = SplitLoops(processes.members, shares)
        yield split, split, split.streams
        return
    with ExitStack() as stack:
        senders = [stack.enter_context(share.connect()) for share in shares]
        loops = [make_loop(share, sender) for share, sender in zip(shares, senders, strict=True)]
        yield LoopGroup(loops), SenderGroup(senders), loops


def split_share(count: int, share: Share) -> list[Share]:
    """Return the shares of a stream for at most `count` processes, which together send it as one would.

    Args:
        count: How many processes there are.
        share: The whole stream.
    """
    moments = share.moments_s
    number = max(1, min(count, share.concurrency if moments is None else len(moments)))
    size = len(share.requests)
    return [
        Share(
            address=share.address,
            timeout_s=share.timeout_s,
            # The request of each arrival is that which one process would send then.
            requests=tuple(share.requests[(index + turn * number) % size] for turn in range(size)),
            rendered=share.rendered,
            concurrency=len(range(index, share.concurrency, number)),
            moments_s=None if moments is None else moments[index::number],
        )
        for index in range(number)
    ]
