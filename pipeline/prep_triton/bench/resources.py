"""What a server, the generator and everything else take of this machine while a load is measured."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from prep_triton.bench.machine import read_cpu_times
from prep_triton.bench.nvml import GpuSampler, Nvml, NvmlError, summarize_gpu
from prep_triton.bench.processes import ProcessTimes, list_tree, read_peak_mib, read_processes, read_times, reset_peaks
from prep_triton.bench.records import GpuFacts, GpuUse, RepeatResources, ResourceUse

ELSEWHERE = "the server's processes are not on this machine, or cannot be told from others"


@dataclass(frozen=True)
class WindowUse:
    """What was used in `seconds`: CPU seconds, the most memory, the GPU; `unknown` says what is not known, and why."""

    seconds: float
    server_cpu_s: float | None = None
    generator_cpu_s: float | None = None
    others_cpu_s: float | None = None
    server_memory_mib: float | None = None
    gpu: GpuUse | None = None
    unknown: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Look:
    """CPU seconds since their beginning, at a moment; None where nothing tells them."""

    at_s: float
    server: float | None
    generator: float | None
    busy: float | None


class ResourceMeter:
    """Measures between `begin` and `end`, any number of times; a context.

    Args:
        server_pid: The server's first process, all of whose descendants count; None where it is not known.
    """

    def __init__(self, server_pid: int | None) -> None:
        self._server_pid = server_pid
        self._before: _Look | None = None
        self._sampler: GpuSampler | None = None
        self._server: frozenset[int] = frozenset()
        self._generator: frozenset[int] = frozenset()
        self._nvml: Nvml | None = None
        self._no_gpu = ELSEWHERE
        self.gpus: tuple[GpuFacts, ...] = ()

    def __enter__(self) -> Self:
        if self._server_pid is None:
            return self
        try:
            self._nvml = Nvml()
        except NvmlError as err:
            self._no_gpu = str(err)
        else:
            self.gpus = self._nvml.describe()
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        if self._sampler:
            self._sampler.end()
        if self._nvml:
            self._nvml.close()

    def prepare(self) -> None:
        """Find the processes to look at, before a load begins: it takes some milliseconds."""
        processes = read_processes()
        self._server = (
            frozenset(list_tree(processes, self._server_pid)) if self._server_pid is not None else frozenset()
        )
        self._generator = frozenset(list_tree(processes, os.getpid(), without=self._server))
        reset_peaks(self._server)

    def begin(self) -> None:
        """Measure from now."""
        if self._nvml:
            try:
                self._sampler = GpuSampler(self._nvml, self._nvml.find_devices(self._server))
            except NvmlError as err:
                self._no_gpu = str(err)
        self._before = self._look()

    def end(self) -> WindowUse:
        """Return what was used since `begin`.

        Raises:
            ValueError: It did not begin.
        """
        now, before = self._look(), self._before
        if before is None:
            raise ValueError("begin comes before end")
        sampler, self._sampler = self._sampler, None
        server, generator = _passed(before.server, now.server), _passed(before.generator, now.generator)
        busy = _passed(before.busy, now.busy)
        memory = read_peak_mib(self._server)
        unknown = {} if sampler else {"gpu": self._no_gpu}
        if server is None:
            unknown["server"] = ELSEWHERE
        elif memory is None:
            unknown["memory"] = "this system does not tell the memory of the server's processes"
        return WindowUse(
            seconds=now.at_s - before.at_s,
            server_cpu_s=server,
            generator_cpu_s=generator,
            others_cpu_s=None if busy is None else max(0.0, busy - (server or 0.0) - (generator or 0.0)),
            server_memory_mib=memory,
            gpu=sampler.end() if sampler else None,
            unknown=unknown,
        )

    def _look(self) -> _Look:
        machine, times = read_cpu_times(), read_times(self._server | self._generator)
        return _Look(
            at_s=time.perf_counter(),
            server=_sum_cpu_s(times, self._server),
            generator=_sum_cpu_s(times, self._generator),
            busy=machine.busy_s if machine else None,
        )


def _sum_cpu_s(times: Mapping[int, ProcessTimes], tree: frozenset[int]) -> float | None:
    """Return the CPU seconds of some processes since they started; None where there is none."""
    own = [times[pid].cpu_s for pid in tree if pid in times]
    return sum(own) if own else None


def _passed(before: float | None, now: float | None) -> float | None:
    return None if before is None or now is None else max(0.0, now - before)


def repeat_resources(uses: Sequence[tuple[int, WindowUse]]) -> tuple[RepeatResources, ...]:
    """Return the CPU seconds of repeats, by their numbers."""
    return tuple(
        RepeatResources(
            repeat=repeat,
            seconds=use.seconds,
            server_cpu_s=use.server_cpu_s,
            generator_cpu_s=use.generator_cpu_s,
            others_cpu_s=use.others_cpu_s,
        )
        for repeat, use in uses
    )


def resources_from_windows(uses: Sequence[WindowUse], inferences_per_s: float) -> ResourceUse:
    """Return what repeats used: means over their time, and the most memory.

    Args:
        uses: Of each repeat.
        inferences_per_s: The rows that were answered a second.
    """
    server = _mean_cores(uses, "server_cpu_s")
    gpus = [use.gpu for use in uses if use.gpu]
    memory = [use.server_memory_mib for use in uses if use.server_memory_mib is not None]
    return ResourceUse(
        server_cpu_cores=server,
        server_cpu_s_per_inference=None if server is None or not inferences_per_s else server / inferences_per_s,
        server_memory_peak_mib=max(memory, default=None),
        generator_cpu_cores=_mean_cores(uses, "generator_cpu_s"),
        others_cpu_cores=_mean_cores(uses, "others_cpu_s"),
        gpu=summarize_gpu(gpus) if gpus else None,
        unknown={what: reason for use in uses for what, reason in use.unknown.items()},
    )


def _mean_cores(uses: Sequence[WindowUse], name: str) -> float | None:
    known = [(getattr(use, name), use.seconds) for use in uses if getattr(use, name) is not None]
    return sum(cpu_s for cpu_s, _ in known) / sum(seconds for _, seconds in known) if known else None
