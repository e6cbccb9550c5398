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
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
)
# Docker's, and Podman's.
_CONTAINER_MARKS = {"docker": Path("/.dockerenv"), "podman": Path("/run/.containerenv")}
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
# NVIDIA's images of Triton set it to their release, such as 26.05.
_IMAGE_VARIABLE = "NVIDIA_TRITON_SERVER_VERSION"
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
    """What all cores did since the machine started, in ticks: all, what the hypervisor gave to others, and work."""

    total: int
    steal: int
    busy: int

    @property
    def busy_s(self) -> float:
        """The seconds that all cores together worked."""
        return self.busy / os.sysconf("SC_CLK_TCK")

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
    """Return the times of ``/proc/stat``; see proc(5): the eighth is steal, the two behind it are in others already.

    The fourth is idle, the fifth idle while something is read or written.
    """
    words = next((line.split() for line in text.splitlines() if line.startswith("cpu ")), [])
    numbers = [int(word) for word in words[1:9] if word.isdecimal()]
    if len(numbers) != 8:
        return None
    return CpuTimes(sum(numbers), numbers[7], busy=sum(numbers) - sum(numbers[3:5]) - numbers[7])


@dataclass(frozen=True)
class Host:
    """What else of this machine decides figures; None where the system does not tell it.

    `container` is the kind of container that prep runs in, `cpu_limit_cores` what its control group allows, and
    `triton_image` the image of Triton that it is.
    """

    kernel: str
    cpu_governor: str | None
    container: str | None
    cpu_limit_cores: float | None
    triton_image: str | None


def read_host() -> Host:
    """Look at the system of this machine."""
    marks = [kind for kind, mark in _CONTAINER_MARKS.items() if mark.exists()]
    release = os.environ.get(_IMAGE_VARIABLE)
    return Host(
        kernel=f"{platform.system()} {platform.release()}",
        cpu_governor=_read_line(_GOVERNOR) or None,
        container="kubernetes" if "KUBERNETES_SERVICE_HOST" in os.environ else next(iter(marks), None),
        cpu_limit_cores=read_cpu_limit(_CONTROL_GROUPS),
        triton_image=f"nvcr.io/nvidia/tritonserver, release {release}" if release else None,
    )


def read_cpu_limit(groups: Path) -> float | None:
    """Return how many cores a control group may use, of version 2 or 1; None where it is not limited."""
    words = _read_line(groups / "cpu.max").split() or [
        _read_line(groups / "cpu" / f"cpu.cfs_{name}_us") for name in ("quota", "period")
    ]
    numbers = [int(word) for word in words if word.isdecimal()]  # "max", or -1: without a limit
    return numbers[0] / numbers[1] if len(numbers) == 2 and numbers[1] else None


def _read_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
