"""The labelled rows of what ranks: pairs of texts with a score, or a query with documents and their relevance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prep_triton.errors import SpecError
from prep_triton.precision.measure.field_checks import check_list, check_number, check_text


@dataclass(frozen=True)
class ScoredPair:
    """Two texts, and how close they are on a scale of the file's own."""

    text: str
    text_pair: str
    score: float


@dataclass(frozen=True)
class RankedDocuments:
    """A query, documents, and the relevance of each to it: 0 for none, and not the same for all."""

    query: str
    documents: tuple[str, ...]
    relevance: tuple[float, ...]


def parse_ranked_row(fields: Mapping[str, Any], _labels: Sequence[str], where: str) -> ScoredPair | RankedDocuments:
    """Parse a row that has the fields of one of the two forms.

    Raises:
        SpecError: A value is not of its kind, or a query's documents cannot be ranked wrongly.
    """
    if "score" in fields and "text" in fields:
        return ScoredPair(
            text=check_text(fields["text"], "text", where),
            text_pair=check_text(fields["text_pair"], "text_pair", where),
            score=check_number(fields["score"], "score", where),
        )
    return parse_ranked_documents(fields, where)


def parse_ranked_documents(fields: Mapping[str, Any], where: str) -> RankedDocuments:
    """Parse a row of a query and its documents.

    Raises:
        SpecError: A value is not of its kind, or the documents cannot be ranked wrongly.
    """
    documents = [check_text(text, "documents", where) for text in check_list(fields["documents"], "documents", where)]
    numbers = check_list(fields["relevance"], "relevance", where)
    relevance = [check_number(number, "relevance", where) for number in numbers]
    if len(documents) != len(relevance):
        raise SpecError(
            f"{where}: {len(documents)} documents and {len(relevance)} numbers of relevance, expected one a document",
            hint='write "documents": ["a", "b"], "relevance": [1, 0]',
        )
    if any(number < 0 for number in relevance):
        raise SpecError(
            f"{where}: the relevance {min(relevance):g} is below 0", hint="write 0 for a document that is not relevant"
        )
    if len(set(relevance)) < 2:
        each = f"the relevance {relevance[0]:g} for each" if relevance else "no document"
        raise SpecError(
            f"{where}: {each}, so that no order is better than another",
            hint="give a query documents that are relevant and others that are not, or remove the line",
        )
    return RankedDocuments(check_text(fields["query"], "query", where), tuple(documents), tuple(relevance))
