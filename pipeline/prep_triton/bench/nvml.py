"""What NVML says of the GPUs of this machine; of its Python package, which the extra `gpu` brings."""

import importlib
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import fmean
from typing import Any

from prep_triton.bench.records import GpuFacts, GpuUse
from prep_triton.extras import hint_to_install

_MODULE = "pynvml"  # of the distribution nvidia-ml-py
_DRIVER = Path("/dev/nvidiactl")
NO_GPU = "this machine has no NVIDIA GPU"
SAMPLE_S = 0.1
_MIB = 2**20


class NvmlError(Exception):
    """NVML cannot be read here; says why."""


class Nvml:
    """NVML while it is open.

    Raises:
        NvmlError: It is not here, or there is no GPU.
    """

    def __init__(self) -> None:
        try:
            self._nvml: Any = importlib.import_module(_MODULE)
        except ImportError as err:
            reason = f"NVML's Python package is not installed: {hint_to_install('gpu')}"
            raise NvmlError(reason if _DRIVER.exists() else NO_GPU) from err
        try:
            self._nvml.nvmlInit()
            count = int(self._nvml.nvmlDeviceGetCount())
        except self._nvml.NVMLError as err:
            raise NvmlError(f"NVML does not answer: {err}" if _DRIVER.exists() else NO_GPU) from err
        self.devices = [self._nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
        if not self.devices:
            raise NvmlError(NO_GPU)

    def close(self) -> None:
        """End it."""
        with suppress(self._nvml.NVMLError):
            self._nvml.nvmlShutdown()

    def describe(self) -> tuple[GpuFacts, ...]:
        """Say which GPUs there are."""
        driver = self._value(self._nvml.nvmlSystemGetDriverVersion)
        return tuple(
            GpuFacts(
                name=self._name(device),
                driver=_text(driver) if driver is not None else None,
                memory_mib=self._memory_mib(device, "total"),
                power_limit_w=_scale(self._value(self._nvml.nvmlDeviceGetEnforcedPowerLimit, device), 1000),
                max_sm_clock_mhz=self._value(self._nvml.nvmlDeviceGetMaxClockInfo, device, self._nvml.NVML_CLOCK_SM),
            )
            for device in self.devices
        )

    def find_devices(self, pids: Iterable[int]) -> list[Any]:
        """Return the GPUs that some processes compute on, or the machine's only one.

        In a container NVML may know processes by other numbers, or none.

        Raises:
            NvmlError: There are several, and nothing says which.
        """
        numbers = set(pids)
        own = [device for device in self.devices if numbers & self._list_pids(device)]
        if not own and len(self.devices) > 1:
            raise NvmlError(
                f"there are {len(self.devices)} GPUs, and NVML does not say which of them the server computes on"
            )
        return own or self.devices

    def read(self, devices: Sequence[Any]) -> GpuUse:
        """Look at GPUs once: shares and clocks are means of several, power and memory their sums."""
        nvml = self._nvml
        rates = self._values(nvml.nvmlDeviceGetUtilizationRates, devices)
        names = [self._name(device) for device in devices]
        return GpuUse(
            name=names[0] if len(names) == 1 else f"{len(names)} x {names[0]}",
            utilisation=_scale(_combine(fmean, [None if rate is None else rate.gpu for rate in rates]), 100),
            power_w=_scale(
                _combine(sum, [self._value(nvml.nvmlDeviceGetPowerUsage, device) for device in devices]), 1000
            ),
            memory_mib=_combine(sum, [self._memory_mib(device, "used") for device in devices]),
            sm_clock_mhz=_combine(fmean, self._values(nvml.nvmlDeviceGetClockInfo, devices, nvml.NVML_CLOCK_SM)),
        )

    def _name(self, device: Any) -> str:
        return _text(self._value(self._nvml.nvmlDeviceGetName, device) or "GPU")

    def _memory_mib(self, device: Any, field: str) -> float | None:
        info = self._value(self._nvml.nvmlDeviceGetMemoryInfo, device)
        return None if info is None else _scale(getattr(info, field), _MIB)

    def _list_pids(self, device: Any) -> set[int]:
        return {process.pid for process in self._value(self._nvml.nvmlDeviceGetComputeRunningProcesses, device) or ()}

    def _values(self, call: Callable[..., Any], devices: Sequence[Any], *arguments: Any) -> list[Any]:
        return [self._value(call, device, *arguments) for device in devices]

    def _value(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Return what NVML says; None where this GPU does not tell it (a MIG instance, an old one)."""
        try:
            return call(*arguments)
        except self._nvml.NVMLError:
            return None


class GpuSampler:
    """Looks at GPUs every `SAMPLE_S`, on a thread of its own, until it is ended."""

    def __init__(self, nvml: Nvml, devices: Sequence[Any]) -> None:
        self._nvml, self._devices = nvml, devices
        self._samples: list[GpuUse] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._samples.append(self._nvml.read(self._devices))
        while not self._ending.wait(SAMPLE_S):
            self._samples.append(self._nvml.read(self._devices))

    def end(self) -> GpuUse:
        """Return what was seen."""
        self._ending.set()
        self._thread.join()
        return summarize_gpu(self._samples)


def summarize_gpu(samples: Sequence[GpuUse]) -> GpuUse:
    """Return means of samples, and the most memory; there is at least one."""
    return GpuUse(
        name=samples[0].name,
        utilisation=_combine(fmean, [sample.utilisation for sample in samples]),
        power_w=_combine(fmean, [sample.power_w for sample in samples]),
        memory_mib=_combine(max, [sample.memory_mib for sample in samples]),
        sm_clock_mhz=_combine(fmean, [sample.sm_clock_mhz for sample in samples]),
    )


def _combine(combine: Callable[[list[float]], float], values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return combine(known) if known else None


def _scale(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value  # bytes before its version 12
