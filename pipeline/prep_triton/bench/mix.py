"""Several entries under load at once: a mix, its shares, and the loops that run side by side."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from prep_triton.bench.generator import ClosedLoop, OpenLoop, Sample, Sender
from prep_triton.bench.records import Load
from prep_triton.errors import SpecError

MOST_STREAMS = 16
_HINT = "write --mix NAME=3,OTHER=1: shares of --rate or --concurrency"
_STREAM = re.compile(r"(?P<entry>[^=,@\s]+)(@(?P<priority>[0-9]{1,9}))?(=(?P<share>[0-9]+(\.[0-9]+)?))?")


@dataclass(frozen=True)
class Stream:
    """What one entry gets of a mix: a share, and the priority of its requests; 0 leaves that to the entry."""

    entry: str
    share: float = 1.0
    priority: int = 0

    def describe(self) -> str:
        """Say it as it is written on the command line."""
        return f"{self.entry}{f'@{self.priority}' if self.priority else ''}={self.share:g}"


@dataclass(frozen=True)
class Mix:
    """Streams that are sent at once."""

    streams: tuple[Stream, ...]

    def describe(self) -> str:
        """Say it as it is written on the command line."""
        return ",".join(stream.describe() for stream in self.streams)

    def with_priority(self, priority: int) -> "Mix":
        """Return it with a priority for the streams that have none."""
        return Mix(tuple(replace(stream, priority=stream.priority or priority) for stream in self.streams))

    def split_load(self, load: Load) -> tuple[Load, ...]:
        """Return each stream's part of a load: of a rate its share, of a concurrency a whole number, at least one.

        Raises:
            SpecError: There are more streams than requests under way.
        """
        whole = sum(stream.share for stream in self.streams)
        values = [load.value * stream.share / whole for stream in self.streams]
        if load.kind == "closed":
            values = list(map(float, self._split_count(int(load.value), values)))
        return tuple(
            load.model_copy(update={"value": value, "priority": stream.priority, "mix": self.describe()})
            for stream, value in zip(self.streams, values, strict=True)
        )

    def _split_count(self, count: int, parts: Sequence[float]) -> list[int]:
        """Round parts to whole numbers whose sum is `count`: what is left goes to who lost most by rounding."""
        if count < len(parts):
            raise SpecError(
                f"--concurrency {count} is too little for the {len(parts)} streams of --mix {self.describe()}",
                hint=f"write --concurrency {len(parts)} or more",
            )
        counts = [max(1, int(part)) for part in parts]
        while sum(counts) < count:
            counts[max(range(len(parts)), key=lambda index: parts[index] - counts[index])] += 1
        while sum(counts) > count:  # where the least share was raised to one
            counts[max(range(len(parts)), key=lambda index: counts[index] if counts[index] > 1 else 0)] -= 1
        return counts


def parse_mix(text: str) -> Mix:
    """Return the mix of ``minilm-openvino-int8=3,minilm-onnx-fp32@2=1``: entry, priority and share of each stream.

    Raises:
        SpecError: It is none, or names the same stream twice.
    """
    matches = [_STREAM.fullmatch(word.strip()) for word in text.split(",")]
    streams = [
        Stream(match["entry"], float(match["share"] or 1), int(match["priority"] or 0)) for match in matches if match
    ]
    if len(streams) < len(matches) or not all(stream.share > 0 for stream in streams):
        raise SpecError(f"--mix '{text}' is not a list of entries and their shares", hint=_HINT)
    names = [(stream.entry, stream.priority) for stream in streams]
    if len(set(names)) < len(names):
        repeated = next(name for index, name in enumerate(names) if name in names[:index])[0]
        raise SpecError(
            f"--mix {text} names {repeated} twice with the same priority",
            hint=f"give it one share, or priorities: --mix {repeated}@1=1,{repeated}@2=1",
        )
    if not 1 < len(streams) <= MOST_STREAMS:
        raise SpecError(f"--mix {text} has {len(streams)} streams, of 2 to {MOST_STREAMS}", hint=_HINT)
    return Mix(tuple(streams))


class LoopGroup:
    """Loops that begin and end together."""

    def __init__(self, loops: Sequence[ClosedLoop | OpenLoop]) -> None:
        self._loops = loops
        self._taken = [0] * len(loops)
        self._samples: list[Sample] = []

    @property
    def samples(self) -> list[Sample]:
        """What all of them have so far; what is new stands at the end."""
        for index, loop in enumerate(self._loops):
            added = loop.samples[self._taken[index] :]
            self._taken[index] += len(added)
            self._samples += added
        return self._samples

    def start(self) -> float:
        """Begin, and return when that was."""
        return min([loop.start() for loop in self._loops])

    def finish(self) -> None:
        """Send no more, and wait for what is under way."""
        for loop in self._loops:
            loop.end()
        for loop in self._loops:
            loop.finish()


class SenderGroup:
    """The senders of a `LoopGroup`, to close them together."""

    def __init__(self, senders: Sequence[Sender]) -> None:
        self._senders = senders

    def close(self) -> None:
        """Cancel what is under way."""
        for sender in self._senders:
            sender.close()
