"""How much memory making a model takes, how much is free, and a budget that models made at once keep within."""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from prep_triton.spec import PipelineModelSpec

# FP32 weights. An unknown hub id is taken for a BERT-base.
_WEIGHTS_GIB: Mapping[str, float] = {"bert-base": 0.41, "bert-large": 1.25, "distilbert": 0.25, "minilm": 0.085}
# Peaks of BERT-base, scripts.benchmarks.measure_overhead and measure_precision: 1.6 GiB to export, 3.6 to quantise.
_FIXED_GIB = 1.0
_EXPORT_FACTOR = 2.0
_QUANTIZE_FACTOR = 6.5
_FREE_SHARE = 0.8
# cgroup v2 and v1: a container's limit, and what it uses.
_CGROUP_FILES = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


@dataclass
class MemoryBudget:
    """Lets jobs begin while their memory fits; one that is larger than the bound runs alone."""

    bound_gib: float
    used_gib: float = 0.0
    running: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    @classmethod
    def of_machine(cls, bound_gib: float | None) -> Self:
        """Return a budget of a bound or, where it is None, of most of what is free now."""
        return cls(bound_gib or find_free_gib() * _FREE_SHARE)

    @contextmanager
    def reserve(self, job_gib: float) -> Iterator[None]:
        """Wait until a job fits, and hold its memory for it."""
        with self.changed:
            self.changed.wait_for(lambda: not self.running or self.used_gib + job_gib <= self.bound_gib)
            self.running, self.used_gib = self.running + 1, self.used_gib + job_gib
        try:
            yield
        finally:
            with self.changed:
                self.running, self.used_gib = self.running - 1, self.used_gib - job_gib
                self.changed.notify_all()


def estimate_memory_gib(spec: PipelineModelSpec) -> float:
    """Estimate the most memory that making a model takes, GiB."""
    weights = _WEIGHTS_GIB.get(spec.model, _WEIGHTS_GIB["bert-base"])
    if (folder := Path(spec.model).expanduser()).is_dir():
        weights = sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 2**30 or weights
    is_quantised = any(variant.quantization or variant.int8_if_faster for variant in spec.variants)
    return _FIXED_GIB + weights * (_QUANTIZE_FACTOR if is_quantised else _EXPORT_FACTOR)


def find_free_gib() -> float:
    """Return the memory that is free now, GiB: the machine's, or what a container may still take, if that is less."""
    candidates = [_find_free_of_machine_gib()]
    for limit_name, used_name in _CGROUP_FILES:
        with suppress(OSError, ValueError):  # no such file, or "max": no limit
            limit = int(Path(limit_name).read_text(encoding="ascii"))
            candidates.append((limit - int(Path(used_name).read_text(encoding="ascii"))) / 2**30)
    return max(0.0, min(candidates))


def _find_free_of_machine_gib() -> float:
    """Return ``MemAvailable`` of /proc/meminfo; half of all memory where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))) / 2**20
    except (OSError, StopIteration, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 / 2
