"""What each variant is, by its manifest: precision, size, fidelity, accuracy."""

from collections.abc import Sequence

from prep_triton.bench.report.content import Cell, Section, Sentence, Table
from prep_triton.bench.report.text import clean
from prep_triton.bench.report.variants import Variant

_MIB = 2**20


def show_manifests(variants: Sequence[Variant], place: str | None) -> Section:
    """Return fidelity, accuracy and size of each variant, or say what to name for them.

    Args:
        variants: The variants.
        place: The repository or release whose manifests were read; None where none was named.
    """
    title = "Fidelity, accuracy and size"
    if place is None:
        return Section(title, (Sentence("Name the repository or the release after the runs for these.", "muted"),))
    known = list({variant.entry: variant for variant in variants if variant.facts}.values())
    if not known:
        return Section(title, (Sentence(f"{place} has none of the entries that were measured.", "warning"),))
    columns = (
        "variant",
        "precision",
        "runtime",
        "#size MiB",
        "#cosine to FP32",
        "#least cosine",
        "over",
        "#accuracy",
        "#before",
    )
    parts: list[Table | Sentence] = [Table(columns, tuple(_row(variant) for variant in known))]
    unknown = list(dict.fromkeys(variant.entry for variant in variants if not variant.facts))
    if unknown:
        parts.append(Sentence(f"{place} does not have {', '.join(unknown)}.", "warning"))
    other = list(
        dict.fromkeys(variant.entry for variant in known if variant.facts and variant.facts.is_same_build is False)
    )
    if other:
        words = f"{place} holds another build of {', '.join(other)} than the measured one: these figures are its own."
        parts.append(Sentence(words, "warning"))
    words = (
        f"From the manifests of {place}: the cosine of a model's answers to PyTorch's in FP32, the size of all files."
    )
    parts.append(Sentence(words, "muted"))
    return Section(title, tuple(parts))


def _row(variant: Variant) -> tuple[Cell, ...]:
    facts = variant.facts
    assert facts
    return (
        Cell(clean(variant.entry, 60), "random weights" if facts.has_random_weights else ""),
        Cell(facts.precision),
        Cell(facts.runtime),
        Cell(f"{facts.size_bytes / _MIB:.1f}"),
        _optional(facts.cosine, 6),
        _optional(facts.worst_cosine, 6),
        Cell(facts.compared or "–"),
        Cell(f"{facts.accuracy:.2f}", facts.metric) if facts.accuracy is not None else Cell("–", "not measured"),
        _optional(facts.accuracy_before, 2),
    )


def _optional(value: float | None, digits: int) -> Cell:
    return Cell("–" if value is None else f"{value:.{digits}f}")
