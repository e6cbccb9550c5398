"""What /proc says of a machine."""

from prep_triton.bench.machine import CpuTimes, parse_cpuinfo, parse_stat, read_cpu_times, read_processor

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
    assert before == CpuTimes(total=1000, steal=50)
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
