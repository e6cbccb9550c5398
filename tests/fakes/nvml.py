"""A stand-in for the module pynvml: a machine with GPUs cannot be had here. Its names are those of nvidia-ml-py 13."""

from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


class NVMLError(Exception):
    """What the module raises."""


@dataclass
class FakeGpu:
    """A GPU; what is None is not supported by it. `utilisations` are those of one look after another."""

    name: str | bytes = "Tesla T4"
    utilisations: list[int] | None = field(default_factory=lambda: [80])
    milliwatts: int | None = 60_000
    used_mib: int = 2048
    clock_mhz: int | None = 1500
    pids: tuple[int, ...] = ()


def install_nvml(monkeypatch: pytest.MonkeyPatch, gpus: list[FakeGpu], *, fails: str = "") -> ModuleType:
    """Have `import pynvml` find a driver with some GPUs, or one that `fails`."""

    def supported(value: Any) -> Any:
        if value is None:
            raise NVMLError("Not Supported")
        return value

    def utilisation(gpu: FakeGpu) -> SimpleNamespace:
        values = supported(gpu.utilisations)
        return SimpleNamespace(gpu=values.pop(0) if len(values) > 1 else values[0])

    def start() -> None:
        if fails:
            raise NVMLError(fails)

    module = ModuleType("pynvml")
    names = {
        "NVMLError": NVMLError,
        "NVML_CLOCK_SM": 1,
        "nvmlInit": start,
        "nvmlShutdown": lambda: None,
        "nvmlSystemGetDriverVersion": lambda: "580.95.05",
        "nvmlDeviceGetCount": lambda: len(gpus),
        "nvmlDeviceGetHandleByIndex": lambda index: gpus[index],
        "nvmlDeviceGetName": lambda gpu: gpu.name,
        "nvmlDeviceGetUtilizationRates": utilisation,
        "nvmlDeviceGetPowerUsage": lambda gpu: supported(gpu.milliwatts),
        "nvmlDeviceGetEnforcedPowerLimit": lambda gpu: 70_000,
        "nvmlDeviceGetMemoryInfo": lambda gpu: SimpleNamespace(total=15360 * 2**20, used=gpu.used_mib * 2**20),
        "nvmlDeviceGetClockInfo": lambda gpu, kind: supported(gpu.clock_mhz),
        "nvmlDeviceGetMaxClockInfo": lambda gpu, kind: 1590,
        "nvmlDeviceGetComputeRunningProcesses": lambda gpu: [SimpleNamespace(pid=pid) for pid in gpu.pids],
    }
    vars(module).update(names)
    monkeypatch.setitem(__import__("sys").modules, "pynvml", module)
    return module
