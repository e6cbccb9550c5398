"""What /proc says of a machine."""

import os
from pathlib import Path

import pytest
from prep_triton.bench.machine import (
    CpuTimes,
    parse_cpuinfo,
    parse_stat,
    read_cpu_limit,
    read_cpu_times,
    read_host,
    read_processor,
)

XEON = """processor\t: 0
model name\t: Intel(R) Xeon(R)
flags\t\t: fpu avx2 avx512f avx512_vnni amx_int8 sse

processor\t: 1
model name\t: other
"""


def test_a_processor_is_named_with_the_flags_that_matter():
    assert parse_cpuinfo(XEON) == ("Intel(R) Xeon(R)", ("avx2", "avx512f", "avx512_vnni", "amx_int8"))
    assert parse_cpuinfo("Features\t: fp asimd i8mm\n") == ("", ("asimd", "i8mm"))
    assert parse_cpuinfo("") == ("", ())


def test_stolen_time_is_a_share_of_what_passed():
    before = parse_stat("cpu  100 0 50 800 0 0 0 50 7 7\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
    after = parse_stat("cpu  150 0 50 830 0 0 0 70 9 9\n")
    assert before == CpuTimes(total=1000, steal=50, busy=150)
    assert after.steal_share_since(before) == 0.2
    assert before.steal_share_since(before) == 0.0
    assert parse_stat("intr 1 2 3\n") is None
    assert parse_stat("cpu  1 2 3 4\n") is None


def test_this_machine_is_described():
    processor = read_processor()
    assert processor.name
    assert processor.cores >= 1
    times = read_cpu_times()
    assert times is None or times.total > 0


def test_a_control_group_limits_cores(tmp_path: Path):
    assert read_cpu_limit(tmp_path) is None
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert read_cpu_limit(tmp_path) is None
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("150000\n")
    assert read_cpu_limit(tmp_path) == 1.5
    (tmp_path / "cpu.max").write_text("400000 100000\n")
    assert read_cpu_limit(tmp_path) == 4.0
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert read_cpu_limit(tmp_path) is None


def test_the_system_is_described(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NVIDIA_TRITON_SERVER_VERSION", raising=False)
    host = read_host()
    assert host.kernel == f"Linux {os.uname().release}"
    assert host.triton_image is None
    monkeypatch.setenv("NVIDIA_TRITON_SERVER_VERSION", "26.05")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    host = read_host()
    assert (host.triton_image, host.container) == ("nvcr.io/nvidia/tritonserver, release 26.05", "kubernetes")
