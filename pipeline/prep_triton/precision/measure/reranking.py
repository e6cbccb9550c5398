"""How well a reranker ranks: nDCG@10 of each query's documents by the score that the model gives them beside it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prep_triton.artifact import Truncation
from prep_triton.precision.measure.ranked_rows import RankedDocuments
from prep_triton.precision.measure.ranking import ndcg
from prep_triton.precision.measure.scoring_plan import Scoring
from prep_triton.precision.measure.token_rows import TokenRow
from prep_triton.tasks import NDCG

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


def plan_reranking(
    queries: Sequence[RankedDocuments], tokenizer: Any, max_tokens: int, *, truncation: Truncation
) -> Scoring:
    """Say how a model that scores a query and a document together is scored on queries.

    Documents are ranked by the logit: no activation that a checkpoint declares changes its order, and a sigmoid's
    largest values are all 1 in FP32.

    Args:
        queries: The rows; a query that stands twice beside a document is answered once.
        tokenizer: A ``tokenizers.Tokenizer``; its truncation is set here.
        max_tokens: Where a pair is cut.
        truncation: Which text of a pair is cut.
    """
    places: dict[tuple[str, str], int] = {}
    indexes = [[places.setdefault((row.query, document), len(places)) for document in row.documents] for row in queries]
    tokenizer.enable_truncation(max_tokens, strategy=truncation)
    encodings = tokenizer.encode_batch(list(places))

    def score(logits: Sequence[float]) -> dict[str, float]:
        points = [
            ndcg([logits[index] for index in documents], row.relevance)
            for documents, row in zip(indexes, queries, strict=True)
        ]
        return {NDCG: 100 * sum(points) / len(points)}

    return Scoring(
        metric=NDCG,
        rows=len(queries),
        sequences=[TokenRow(tuple(encoding.ids), tuple(encoding.type_ids)) for encoding in encodings],
        choose=_find_score,
        score=score,
    )


def _find_score(_: int, answers: "Mapping[str, Array]") -> float:
    """Return a pair's logit, without the digits that a batch's other rows decide in FP32."""
    return float(f"{float(answers['logits'][0]):.6g}")
