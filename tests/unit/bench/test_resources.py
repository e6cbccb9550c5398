"""What a load takes of the machine: of real processes, and of GPUs by a stand-in for NVML."""

import os
import subprocess
import sys

import pytest
from prep_triton.bench import nvml
from prep_triton.bench.records import GpuFacts, GpuUse
from prep_triton.bench.resources import ELSEWHERE, ResourceMeter, WindowUse, resources_from_windows

from tests.fakes.nvml import FakeGpu, install_nvml

WORK = "import time\nwhile time.process_time() < 0.3: pass\nprint('done', flush=True); input()"


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """A driver's device file, whatever this machine has."""
    (tmp_path / "nvidiactl").touch()
    monkeypatch.setattr(nvml, "_DRIVER", tmp_path / "nvidiactl")


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(nvml, "_DRIVER", tmp_path / "none")
    monkeypatch.setitem(sys.modules, "pynvml", None)


@pytest.mark.usefixtures("no_driver")
def test_a_servers_work_is_told_from_the_generators():
    """A process works for 0.3 s after the first look, and this one does not work."""
    command = [sys.executable, "-c", f"input()\n{WORK}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        with ResourceMeter(server.pid) as meter:
            meter.prepare()
            meter.begin()
            server.stdin.write("\n")
            server.stdin.flush()
            server.stdout.readline()
            use = meter.end()
        server.communicate("\n")
    assert use.server_cpu_s == pytest.approx(0.35, abs=0.1)
    assert use.generator_cpu_s == pytest.approx(0.1, abs=0.1)
    assert use.seconds > 0.25
    assert use.others_cpu_s is not None
    assert (use.server_memory_mib or 0) > 1 or "memory" in use.unknown
    assert use.unknown["gpu"] == nvml.NO_GPU
    assert use.gpu is None


def test_of_a_server_elsewhere_the_generator_alone_is_known(driver):
    with ResourceMeter(None) as meter:
        meter.prepare()
        meter.begin()
        use = meter.end()
    assert (use.server_cpu_s, use.server_memory_mib, use.gpu) == (None, None, None)
    assert use.generator_cpu_s is not None
    assert use.unknown == {"server": ELSEWHERE, "gpu": ELSEWHERE}
    with ResourceMeter(None) as meter, pytest.raises(ValueError, match="begin comes before end"):
        meter.end()


def measure_gpu(pid: int) -> WindowUse:
    with ResourceMeter(pid) as meter:
        meter.prepare()
        meter.begin()
        return meter.end()


def test_a_gpu_is_described_and_sampled(monkeypatch, driver):
    install_nvml(monkeypatch, [FakeGpu(name=b"Tesla T4")])
    with ResourceMeter(os.getpid()) as meter:
        facts = GpuFacts(name="Tesla T4", driver="580.95.05", memory_mib=15360, power_limit_w=70, max_sm_clock_mhz=1590)
        assert meter.gpus == (facts,)
    use = measure_gpu(os.getpid())
    assert use.gpu == GpuUse(name="Tesla T4", utilisation=0.8, power_w=60, memory_mib=2048, sm_clock_mhz=1500)
    assert "gpu" not in use.unknown


def test_what_a_gpu_does_not_tell_is_none(monkeypatch, driver):
    install_nvml(monkeypatch, [FakeGpu(utilisations=None, milliwatts=None, clock_mhz=None)])
    assert measure_gpu(os.getpid()).gpu == GpuUse(name="Tesla T4", memory_mib=2048)


def test_of_several_gpus_the_servers_are_measured(monkeypatch, driver):
    own = (1, os.getpid())
    gpus = [FakeGpu(utilisations=[10]), FakeGpu(pids=own), FakeGpu(pids=own, utilisations=[40], clock_mhz=1300)]
    install_nvml(monkeypatch, gpus)
    use = measure_gpu(os.getpid())
    assert use.gpu == GpuUse(name="2 x Tesla T4", utilisation=0.6, power_w=120, memory_mib=4096, sm_clock_mhz=1400)
    install_nvml(monkeypatch, [FakeGpu(), FakeGpu()])
    use = measure_gpu(os.getpid())
    assert use.gpu is None
    assert "there are 2 GPUs" in use.unknown["gpu"]


def test_samples_become_means_and_the_most_memory():
    samples = [
        GpuUse(name="L4", utilisation=0.5, power_w=40, memory_mib=100, sm_clock_mhz=2000),
        GpuUse(name="L4", utilisation=1.0, power_w=60, memory_mib=300),
    ]
    assert nvml.summarize_gpu(samples) == GpuUse(
        name="L4", utilisation=0.75, power_w=50, memory_mib=300, sm_clock_mhz=2000
    )


def test_without_nvml_the_reason_is_said(monkeypatch, driver, tmp_path):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "pip install 'prep-triton[gpu]'" in measure_gpu(os.getpid()).unknown["gpu"]
    install_nvml(monkeypatch, [], fails="Driver/library version mismatch")
    assert measure_gpu(os.getpid()).unknown["gpu"] == "NVML does not answer: Driver/library version mismatch"
    install_nvml(monkeypatch, [])
    assert measure_gpu(os.getpid()).unknown["gpu"] == nvml.NO_GPU
    monkeypatch.setattr(nvml, "_DRIVER", tmp_path / "none")
    install_nvml(monkeypatch, [], fails="NVML Shared Library Not Found")
    assert measure_gpu(os.getpid()).unknown["gpu"] == nvml.NO_GPU


def test_repeats_become_means_over_their_time():
    uses = [
        WindowUse(1.0, server_cpu_s=2.0, generator_cpu_s=0.1, others_cpu_s=0.0, server_memory_mib=100),
        WindowUse(3.0, server_cpu_s=3.0, generator_cpu_s=0.3, others_cpu_s=1.0, server_memory_mib=90),
    ]
    use = resources_from_windows(uses, inferences_per_s=50)
    assert use.server_cpu_cores == pytest.approx(1.25)
    assert use.server_cpu_s_per_inference == pytest.approx(0.025)
    assert use.server_memory_peak_mib == 100
    assert use.generator_cpu_cores == pytest.approx(0.1)
    assert use.others_cpu_cores == pytest.approx(0.25)
    nothing = resources_from_windows([WindowUse(1.0, unknown={"server": "no"})], inferences_per_s=0)
    assert (nothing.server_cpu_cores, nothing.server_cpu_s_per_inference) == (None, None)
    assert nothing.unknown == {"server": "no"}
