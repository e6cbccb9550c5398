"""The machine that a load runs on: its processor, its load, and the time that it was not given."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

# What decides how fast a processor multiplies INT8, BF16 and FP32.
SHOWN_FLAGS = (
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "i8mm",
    "bf16",
    "sve",
)
_CPUINFO = Path("/proc/cpuinfo")
_STAT = Path("/proc/stat")


@dataclass(frozen=True)
class Processor:
    """A processor's name, which of `SHOWN_FLAGS` it has, and how many cores this process may use."""

    name: str
    flags: tuple[str, ...]
    cores: int


def read_processor() -> Processor:
    """Look at the processor of this machine."""
    try:
        text = _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    name, flags = parse_cpuinfo(text)
    return Processor(name or platform.processor() or platform.machine(), flags, len(os.sched_getaffinity(0)))


def parse_cpuinfo(text: str) -> tuple[str, tuple[str, ...]]:
    """Return a processor's name and its shown flags from ``/proc/cpuinfo``; ARM calls them features."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip().lower(), value.strip())
    flags = fields.get("flags", fields.get("features", "")).split()
    return fields.get("model name", ""), tuple(flag for flag in SHOWN_FLAGS if flag in flags)


@dataclass(frozen=True)
class CpuTimes:
    """What all cores did since the machine started, in ticks: all of it, and what the hypervisor gave to others."""

    total: int
    steal: int

    def steal_share_since(self, before: "CpuTimes") -> float:
        """Return the share of the time since an earlier look that was stolen, 0..1."""
        passed = self.total - before.total
        return min(1.0, max(0.0, (self.steal - before.steal) / passed)) if passed > 0 else 0.0


def read_cpu_times() -> CpuTimes | None:
    """Read the times of this machine; None where the system does not tell them."""
    try:
        return parse_stat(_STAT.read_text(encoding="utf-8"))
    except OSError:
        return None


def parse_stat(text: str) -> CpuTimes | None:
    """Return the times of ``/proc/stat``; see proc(5): the eighth is steal, the two behind it are in others already."""
    words = next((line.split() for line in text.splitlines() if line.startswith("cpu ")), [])
    numbers = [int(word) for word in words[1:9] if word.isdecimal()]
    return CpuTimes(sum(numbers), numbers[7]) if len(numbers) == 8 else None
