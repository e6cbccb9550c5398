"""What `prep bench -v` says of a machine."""

import pytest
from prep_triton.bench.records import GpuUse, ResourceUse
from prep_triton.cli.documents.bench_resources import describe_gpu, render_others, render_resources
from prep_triton.cli.output import Output

from tests.fakes.benched import make_points, make_report

USE = ResourceUse(
    server_cpu_cores=1.5,
    server_cpu_s_per_inference=0.0125,
    server_memory_peak_mib=1234.5,
    generator_cpu_cores=0.25,
    others_cpu_cores=0.75,
    unknown={"gpu": "this machine has no NVIDIA GPU"},
)


def test_what_a_load_took_is_a_row(capsys: pytest.CaptureFixture[str]):
    point = make_points()[0].model_copy(update={"resources": USE})
    out = Output(as_json=False, verbose=True)
    render_resources(out, [point])
    shown = capsys.readouterr().out
    row = next(line for line in shown.splitlines() if line.startswith("tiny"))
    assert row.split("\t")[4:] == ["1.50", "12.50", "1,234", "0.25", "0.75", "-"]
    assert "gpu not known: this machine has no NVIDIA GPU" in shown
    render_others(out, make_report((point,)))
    assert "other programs took up to 0.8 of 2 cores meanwhile" in capsys.readouterr().out
    render_others(out, make_report(make_points()))
    render_resources(out, make_points())
    assert capsys.readouterr().out == ""


def test_a_gpu_is_a_few_words():
    gpu = GpuUse(name="Tesla T4", utilisation=0.93, power_w=66.4, memory_mib=2048, sm_clock_mhz=1350)
    assert describe_gpu(gpu) == "Tesla T4: 93 %, 66 W, 2,048 MiB, 1,350 MHz"
    assert describe_gpu(GpuUse(name="A100", memory_mib=10)) == "A100: 10 MiB"
    assert describe_gpu(GpuUse(name="A100")) == "A100"
