"""How progress is told: percent, bytes and the time left, and few lines in a log."""

import io

import pytest
from prep_triton.cli.bars import PhaseLines, describe_amount, draw_bar
from prep_triton.progress import SizedPhase
from rich.console import Console

MIB = 1 << 20


@pytest.mark.parametrize(
    ("fraction", "size", "elapsed_s", "text"),
    [
        (None, None, 9.0, ""),
        (0.454, None, 9.0, "45%"),
        (0.25, 100 * MIB, 0.2, "25% of 100.0 MiB"),
        (0.25, 100 * MIB, 5.0, "25% of 100.0 MiB, 5.0 MiB/s, 15.0 s left"),
        (0.0, 100 * MIB, 5.0, "0% of 100.0 MiB"),
    ],
)
def test_an_amount_is_percent_bytes_speed_and_the_time_left(fraction, size, elapsed_s: float, text: str):
    assert describe_amount(fraction, size, elapsed_s) == text


def test_the_time_left_is_of_what_was_done_since_the_phase_began():
    assert describe_amount(0.75, 100 * MIB, 5.0, began_at=0.5).endswith("5.0 MiB/s, 5.0 s left")


def test_a_log_gets_a_line_for_each_kind_of_phase_and_one_now_and_then(monkeypatch: pytest.MonkeyPatch):
    now, lines = [100.0], list[str]()
    monkeypatch.setattr("prep_triton.cli.bars.time.monotonic", lambda: now[0])
    progress = PhaseLines(lines.append, "publish")
    for name in "abc":
        progress(f"loading {name}", 0.1)
    upload = SizedPhase("uploading 2 files", 200 * MIB)
    for fraction in (0.0, 0.1, 0.2, 0.5, 1.0):
        progress(upload, fraction)
        now[0] += 20
    assert lines == [
        "  publish: loading a",
        "  publish: uploading 2 files (200.0 MiB)",
        "  publish: uploading 2 files: 20% of 200.0 MiB, 1.0 MiB/s, 2 min 40 s left",
        "  publish: uploading 2 files: 100% of 200.0 MiB, 2.5 MiB/s, 0.0 s left",
    ]


def test_a_bar_shows_the_bytes_also_where_the_terminal_is_narrow():
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with draw_bar(console, "publish gs://a-bucket-with-a-long-name/and/a/prefix") as progress:
        progress(SizedPhase("uploading 5 files", 100 * MIB), 0.25)
    stream = console.file
    assert isinstance(stream, io.StringIO)
    assert "25% of 100.0 MiB" in stream.getvalue()
