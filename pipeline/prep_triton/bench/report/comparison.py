"""The first thing of a report: the variants beside each other, and what that comes to in a sentence."""

from collections.abc import Callable, Iterator, Sequence

from prep_triton.bench.records import Point
from prep_triton.bench.report.content import Cell, Section, Sentence, Table
from prep_triton.bench.report.costs import find_cost
from prep_triton.bench.report.text import clean, format_dollars, format_interval, format_number
from prep_triton.bench.report.variants import Decision, Variant, decide

_MIB = 2**20


def compare_variants(variants: Sequence[Variant]) -> Section:
    """Return the comparison table, best first, with what was not measured at its end."""
    chosen = _sorted([(variant, decide(variant)) for variant in variants])
    columns: list[tuple[str, Callable[[Variant, Decision], Cell]]] = [
        ("variant", lambda variant, _: variant.name_cell(_detail_of(variant))),
        ("#inferences/s", _rate_cell),
        ("#p50 ms", lambda variant, decision: _latency_cell(variant, decision, 50.0)),
        ("#p99 ms", lambda variant, decision: _latency_cell(variant, decision, 99.0)),
        ("load", _load_cell),
    ]
    levels = {variant.run.report.slo for variant in variants}
    if levels != {None}:
        level = next(iter(levels))
        title = level.describe() if level and len(levels) == 1 else "service level"
        columns.append((title, lambda variant, decision: _level_cell(variant, decision, is_named=len(levels) == 1)))
    if any(variant.run.report.costs for variant in variants):
        columns.append(("#$ per million", lambda variant, _: _cost_cell(variant)))
    if any(variant.facts for variant in variants):
        columns += [("precision", _precision_cell), ("#size MiB", _size_cell), ("#cosine to FP32", _cosine_cell)]
    if any(variant.facts and variant.facts.metric for variant in variants):
        columns.append(("#accuracy", _accuracy_cell))
    rows = [tuple(make(variant, decision) for _, make in columns) for variant, decision in chosen]
    rows += [_absent(name, reason, len(columns)) for name, reason in _list_absent(variants)]
    return Section("Comparison", (Table(tuple(name for name, _ in columns), tuple(rows)), *_explain(chosen)))


def summarize(variants: Sequence[Variant]) -> Iterator[Sentence]:
    """Say which variant holds its service level at the highest rate, or that none does."""
    chosen = _sorted([(variant, decide(variant)) for variant in variants])
    holding = [(variant, decision.point) for variant, decision in chosen if decision.state in ("met", "highest")]
    if not holding:
        yield from _describe_nearest(chosen)
        return
    (best, point), others = holding[0], holding[1:]
    if point is None:
        return
    level = best.run.report.slo
    does = f"holds {level.describe()} at" if level else "makes"
    rate = f"{format_number(point.inferences_per_s.value)} inferences/s"
    shared = [variant.label for variant, other in others if other and _overlap(point, other)]
    rank = "" if len(chosen) == 1 else ", the highest rate that was measured"
    if shared:
        rank += f"; a difference to {', '.join(shared)} is not shown"
    yield Sentence(f"{best.label} {does} {rate} ({point.load.describe()}){rank}.")


def _describe_nearest(chosen: Sequence[tuple[Variant, Decision]]) -> Iterator[Sentence]:
    variant, decision = chosen[0]
    point, slo = decision.point, variant.run.report.slo
    if point is None or point.verdict is None or slo is None:
        yield Sentence("No load counts: the generator sustained none of them, or no request was answered.", "warning")
        return
    near = f"{variant.label} is nearest: p99 {format_number(point.p99_ms.value)} ms at {point.load.describe()}"
    more = f", and {point.verdict.more:,} more requests in time would show it" if point.verdict.more else ""
    yield Sentence(f"No variant was shown to hold {slo.describe()}. {near}{more}.", "warning")


def describe_differing_levels(variants: Sequence[Variant]) -> Iterator[Sentence]:
    """Warn where the variants were judged by different service levels."""
    if len({variant.run.report.slo for variant in variants}) > 1:
        yield Sentence("The runs have different service levels: each rate is that at its own run's.", "warning")


def _sorted(chosen: list[tuple[Variant, Decision]]) -> list[tuple[Variant, Decision]]:
    order = ("met", "highest", "not shown", "none holds", "nothing")

    def rank(pair: tuple[Variant, Decision]) -> tuple[int, float]:
        point = pair[1].point
        return order.index(pair[1].state), -point.inferences_per_s.value if point else 0.0

    return sorted(chosen, key=rank)


def _rate_cell(variant: Variant, decision: Decision) -> Cell:
    del variant
    if decision.point is None:
        return Cell("–", "no load counts", "bad")
    rate = decision.point.inferences_per_s
    tone = {"none holds": "bad", "not shown": "muted"}.get(decision.state, "")
    return Cell(format_number(rate.value), format_interval(rate), tone)


def _latency_cell(variant: Variant, decision: Decision, percent: float) -> Cell:
    if decision.point is None:
        return Cell("–")
    figure = decision.point.p50_ms if percent == 50.0 else decision.point.p99_ms
    slo = variant.run.report.slo
    is_over = slo and slo.percent == percent and figure.value > slo.bound_ms
    return Cell(format_number(figure.value), format_interval(figure), "bad" if is_over else "")


def _load_cell(variant: Variant, decision: Decision) -> Cell:
    del variant
    if decision.point is None:
        return Cell("–")
    batch = decision.point.batch
    return Cell(decision.point.load.describe(), f"batch {batch}" if batch > 1 else "")


def _level_cell(variant: Variant, decision: Decision, *, is_named: bool) -> Cell:
    slo, verdict = variant.run.report.slo, decision.point.verdict if decision.point else None
    if slo is None or verdict is None:
        return Cell("–", "" if slo else "none set")
    details = ("" if is_named else slo.describe(), f"{verdict.more:,} more requests" if verdict.more else "")
    tone = {"met": "good", "not met": "bad"}.get(verdict.state, "")
    return Cell(verdict.state, "; ".join(filter(None, details)), tone)


def _cost_cell(variant: Variant) -> Cell:
    costs, row = variant.run.report.costs, find_cost(variant)
    if costs is None or row is None or row.usd_per_million is None:
        return Cell("–")
    return Cell(format_dollars(row.usd_per_million), f"{clean(costs.machine, 40)}, {costs.price}")


def _detail_of(variant: Variant) -> str:
    notes = []
    if variant.run.report.partial:
        notes.append("partial")
    if variant.facts and variant.facts.is_same_build is False:
        notes.append("the repository holds another build of it")
    if variant.facts and variant.facts.has_random_weights:
        notes.append("random weights")
    return "; ".join(notes)


def _precision_cell(variant: Variant, _: Decision) -> Cell:
    return Cell(variant.facts.precision, variant.facts.runtime) if variant.facts else Cell("–")


def _cosine_cell(variant: Variant, _: Decision) -> Cell:
    facts = variant.facts
    if facts is None or facts.cosine is None:
        return Cell("–")
    return Cell(f"{facts.cosine:.4f}", f"least {facts.worst_cosine:.4f}" if facts.worst_cosine is not None else "")


def _accuracy_cell(variant: Variant, _: Decision) -> Cell:
    facts = variant.facts
    if facts is None or facts.accuracy is None:
        return Cell("–")
    return Cell(f"{facts.accuracy:.2f}", f"{facts.metric}; {facts.accuracy_before:.2f} before")


def _size_cell(variant: Variant, _: Decision) -> Cell:
    return Cell(f"{variant.facts.size_bytes / _MIB:.1f}") if variant.facts else Cell("–")


def _list_absent(variants: Sequence[Variant]) -> Iterator[tuple[str, str]]:
    """Yield what a run names and none measured, with the reason; several runs of one pipeline file name the same."""
    reports = {id(variant.run): variant.run.report for variant in variants}.values()
    measured = {point.entry for report in reports for point in report.points}
    rows = [
        named
        for report in reports
        for named in (*((row.entry, row.reason) for row in report.not_measured), *report.not_loaded.items())
    ]
    yield from (named for named in dict.fromkeys(rows) if named[0] not in measured)


def _absent(name: str, reason: str, columns: int) -> tuple[Cell, ...]:
    named = Cell(clean(name, 60), clean(reason, 240), "muted")
    return (named, Cell("–", "not measured"), *([Cell("–")] * (columns - 2)))


def _explain(chosen: Sequence[tuple[Variant, Decision]]) -> Iterator[Sentence]:
    states = {decision.state for _, decision in chosen}
    words = ["Small figures under a rate and a latency are intervals of 95 % confidence."]
    if "met" in states:
        words.append("The rate is the highest measured one that holds the service level with 99 % confidence.")
    if "highest" in states:
        words.append("Where no service level was set it is the highest rate that was measured.")
    if "not shown" in states:
        words.append("Not shown: too few requests were measured to say that it holds.")
    if "none holds" in states:
        words.append("Of a variant that holds it nowhere, the load with the least p99 stands here.")
    yield Sentence(" ".join(words), "muted")


def _overlap(point: Point, other: Point) -> bool:
    ours, theirs = point.inferences_per_s, other.inferences_per_s
    return ours.low <= theirs.high and theirs.low <= ours.high
