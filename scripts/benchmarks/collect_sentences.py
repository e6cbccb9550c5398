"""Collect real English sentences that are on every machine: the docstrings of Python's standard library.

    .venv/bin/python -m scripts.benchmarks.collect_sentences --count 512 --output calibration.txt
    .venv/bin/python -m scripts.benchmarks.collect_sentences --count 400 --held-out --output held-out.txt

One sentence a line. The two halves (with and without --held-out) share no sentence, whatever the counts; the same
Python, count and seed give the same file. Meant for measuring: calibrate what you ship on your own users' text.
"""

import ast
import random
import re
import sys
import sysconfig
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

from scripts.benchmarks.common import make_parser

# Tests and generated tables hold little prose.
SKIPPED_FOLDERS = frozenset({"__pycache__", "idlelib", "lib2to3", "site-packages", "test", "tests"})
FEWEST_WORDS, MOST_WORDS = 6, 80

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_PROSE = re.compile(r"[A-Z][A-Za-z0-9 ,;:'\"()/.!?-]+[.!?]")


def collect_sentences(count: int, *, seed: int = 0, held_out: bool = False) -> list[str]:
    """Return distinct sentences in a seeded order.

    Args:
        count: How many.
        seed: Decides which, and their order.
        held_out: Draw from the half that the other value never draws from.
    """
    # The half of a sentence depends on its text alone, so that no seed or count moves it across.
    pool = sorted({text for text in iterate_sentences() if (zlib.crc32(text.encode()) % 2 == 1) == held_out})
    if count > len(pool):
        sys.exit(f"there are {len(pool)} sentences in this half, {count} were asked for")
    return random.Random(seed).sample(pool, count)


def iterate_sentences() -> Iterator[str]:
    """Yield the sentences of every docstring of the standard library."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        if SKIPPED_FOLDERS.isdisjoint(path.relative_to(root).parts):
            for docstring in iterate_docstrings(path):
                for paragraph in re.split(r"\n\s*\n", docstring):
                    yield from split_sentences(paragraph)


def iterate_docstrings(path: Path) -> Iterator[str]:
    """Yield the docstrings of one source file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old escapes in other people's sources
        tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def split_sentences(paragraph: str) -> Iterator[str]:
    """Yield the sentences of a paragraph that are prose, not code or tables."""
    for sentence in _SENTENCE_END.split(" ".join(paragraph.split())):
        if _PROSE.fullmatch(sentence) and FEWEST_WORDS <= len(sentence.split()) <= MOST_WORDS:
            yield sentence


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--held-out", action="store_true", help="draw from the other half")
    parser.add_argument("--output", type=Path, help="the file to write; stdout by default")
    arguments = parser.parse_args()
    sentences = collect_sentences(arguments.count, seed=arguments.seed, held_out=arguments.held_out)
    text = "\n".join(sentences) + "\n"
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
