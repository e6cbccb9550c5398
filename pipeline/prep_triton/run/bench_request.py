"""The load that a pipeline file asks for, as a request of `prep bench`."""

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from prep_triton.errors import PrepError, SpecError, suggest
from prep_triton.layout import BENCH_NAME
from prep_triton.run.costing import choose_price
from prep_triton.run.names import name_of_model, names_of_variant
from prep_triton.spec import BenchSpec, RunSpec
from prep_triton.spec.faults import Path as KeyPath

if TYPE_CHECKING:
    from prep_triton.bench.records import Load
    from prep_triton.run.benching import BenchRequest

_DEFAULTS = BenchSpec()
# A flag, and its value where one follows: a number, something in quotes, a file or a level.
_FLAG = re.compile(r"--(?P<flag>[a-z][a-z-]*)(?P<value> (?:['0-9]\S*|\S+\.\S+|p[0-9.]+=\S+))?")
_KEYS = {"entry": "entries"}


def bench_run_path(spec: RunSpec) -> Path:
    """Return where a run writes what it measured: beside the repository."""
    return Path(spec.repository).parent / BENCH_NAME


def loads_from_spec(spec: BenchSpec) -> "tuple[Load, ...]":
    """Return the loads of a pipeline file.

    Raises:
        SpecError: A sweep is none, or beyond what is sent.
    """
    from prep_triton.bench.loads import DEFAULT_CONCURRENCY, parse_concurrency, parse_rates

    concurrency = spec.concurrency or (None if spec.rate else DEFAULT_CONCURRENCY)
    closed = parse_concurrency(concurrency) if concurrency else ()
    return (*closed, *(parse_rates(spec.rate, spec.arrivals) if spec.rate else ()))


def request_from_spec(spec: RunSpec) -> "BenchRequest":
    """Return what to measure of a pipeline file's repository.

    Raises:
        SpecError: A choice is wrong, or the texts cannot be read.
    """
    from prep_triton.bench.measure import Plan
    from prep_triton.bench.requests import InputChoice
    from prep_triton.bench.slo import parse_slo
    from prep_triton.run.benching import BenchRequest, read_texts

    bench = spec.bench or _DEFAULTS
    texts = read_texts(Path(bench.texts) if bench.texts else None)
    choice = InputChoice(
        batch=bench.batch, sequence=bench.seq_len, seed=bench.seed, texts=texts, join_texts=bench.texts is None
    )
    plan = Plan(
        loads=loads_from_spec(bench),
        repeats=bench.repeats,
        warmup_s=bench.warmup_s,
        duration_s=bench.duration_s,
        seed=bench.seed,
        timeout_s=bench.timeout_s,
    )
    return BenchRequest(
        target=spec.repository,
        release=None,
        server=spec.verify.server_url,
        entries=bench.entries,
        inputs=choice,
        plan=plan,
        slo=parse_slo(bench.slo) if bench.slo else None,
        command=render_command(spec, bench),
    )


def render_command(spec: RunSpec, bench: BenchSpec) -> str:
    """Return the `prep bench` that measures the same again."""
    flags: list[str] = ["prep", "bench", spec.repository]
    for name in bench.entries:
        flags += ["--entry", name]
    values = {
        key: getattr(bench, key) for key in BenchSpec.model_fields if key not in ("entries", "baseline", "report")
    }
    for key, value in {**values, "server": spec.verify.server_url}.items():
        if value is not None and value != getattr(_DEFAULTS, key, None):
            flags += [f"--{key.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(flags)


def find_bench_errors(spec: RunSpec) -> Iterator[tuple[KeyPath, PrepError]]:
    """Yield what is wrong with the load of a pipeline file, and the files that it names, each with its place."""
    from prep_triton.bench.loads import parse_concurrency, parse_rates
    from prep_triton.bench.slo import parse_slo
    from prep_triton.run.benching import read_texts

    bench = spec.bench
    if bench is None:
        return
    checks: list[tuple[KeyPath, Callable[[], object]]] = [
        (("entries", index), partial(_check_entry, spec, name)) for index, name in enumerate(bench.entries)
    ]
    checks += [(("concurrency",), partial(parse_concurrency, bench.concurrency))] if bench.concurrency else []
    checks += [(("rate",), partial(parse_rates, bench.rate, bench.arrivals))] if bench.rate else []
    checks += [(("slo",), partial(parse_slo, bench.slo))] if bench.slo else []
    price = partial(choose_price, bench.machine or "", bench.price, bench.region)
    checks += [(("machine",), price)] if bench.machine is not None else []
    checks += [(("texts",), partial(read_texts, Path(bench.texts)))] if bench.texts else []
    checks += [(("baseline",), partial(_check_baselines, spec, bench.baseline))] if bench.baseline else []
    for path, check in checks:
        try:
            check()
        except PrepError as err:
            yield ("bench", *path), SpecError(name_keys(err.message), hint=name_keys(err.hint))


def name_keys(text: str) -> str:
    """Return a sentence of `prep bench` in the words of a file: ``batch: 8`` where it says ``--batch 8``."""

    def name(match: re.Match[str]) -> str:
        key = match["flag"].replace("-", "_")
        value = match["value"]
        return f"{_KEYS.get(key, key)}:{value}" if value else _KEYS.get(key, key)

    return _FLAG.sub(name, text)


def _check_entry(spec: RunSpec, name: str) -> None:
    known = set()
    for model in spec.models:
        for variant in model.variants:
            for entry in names_of_variant(variant, name_of_model(model)):
                known |= {entry, f"{entry}-text"} if variant.text else {entry}
    if name not in known:
        hint = suggest(name, known, otherwise=f"it makes {', '.join(sorted(known)) or 'none'}")
        raise SpecError(f"the file makes no entry '{name}'", hint=hint)


def _check_baselines(spec: RunSpec, paths: Sequence[str]) -> None:
    from prep_triton.bench.compare import load_baseline
    from prep_triton.bench.history import check_history

    check_history(len(paths))
    for path in paths:
        if Path(path).absolute() == bench_run_path(spec).absolute():
            raise SpecError(
                f"{path} is the file that the run writes: it would be compared with itself",
                hint=f"name a copy of it: cp {path} baseline.json",
            )
        load_baseline(Path(path))
