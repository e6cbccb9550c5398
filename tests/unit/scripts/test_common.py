"""What the benchmarks share: turns, tables, spreads, and what a process costs."""

import sys
from pathlib import Path

import pytest

from scripts.benchmarks.common import Spread, Table, print_conditions, run_measured, summarize, take_turns


def test_no_case_is_always_first():
    rounds = [take_turns("abc", number) for number in range(4)]
    assert rounds == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]]


def test_a_table_aligns_figures_and_texts_below_their_titles(capsys):
    table = Table(("step", "<8"), ("seconds", ">9.1f"), ("share", ">7.0%"))
    table.print_row("export", 1.25, 0.5)
    table.print_row("build", "-", "")
    assert capsys.readouterr().out == "step      seconds  share\nexport        1.2    50%\nbuild           -\n"


def test_a_row_has_a_cell_for_each_column():
    with pytest.raises(ValueError, match="longer"):
        Table(("step", "<8"), ("seconds", ">9.1f")).print_row("export")


def test_a_spread_tells_its_extremes_and_count():
    assert summarize([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0, 3)


def test_conditions_name_the_machine_and_the_command(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["measure", "--runs", "3"])
    print_conditions("seed 0")
    machine, seed, command = capsys.readouterr().out.splitlines()
    assert "CPUs, load" in machine
    assert seed == "seed 0"
    assert command.endswith("--runs 3")


def test_a_process_that_fails_is_shown_with_its_last_words(tmp_path: Path):
    with pytest.raises(SystemExit, match="no such model"):
        run_measured([sys.executable, "-c", "raise SystemExit('no such model')"], tmp_path)
