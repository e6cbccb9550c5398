"""How well embeddings rank: Spearman's correlation of cosines with given scores, and nDCG@10 of documents by query.

Both are in points, of 100. The cosine is that of a text's embedding as the checkpoint declares it. Rows of queries get
the prompts that sentence-transformers' `encode_query` and `encode_document` take; pairs get the default.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from prep_triton.artifact import EmbeddingRecord
from prep_triton.errors import SpecError
from prep_triton.precision.measure.ranked_rows import RankedDocuments, ScoredPair
from prep_triton.precision.measure.scoring_plan import Scoring
from prep_triton.precision.measure.token_rows import TokenRow
from prep_triton.tasks import NDCG, SPEARMAN

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

CUTOFF = 10
# The names under which checkpoints declare what stands before each, as sentence-transformers looks for them.
_QUERY_PROMPTS = ("query",)
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")


def spearman(values: Sequence[float], scores: Sequence[float]) -> float:
    """Return Spearman's rank correlation, -1 to 1: Pearson's of the ranks, of which equal values share the mean.

    It is `scipy.stats.spearmanr`'s, but 0 where one side has no order at all.
    """
    import numpy as np

    ranks = np.array([_average_ranks(values), _average_ranks(scores)])
    ranks -= ranks.mean(axis=1, keepdims=True)
    spread = float(np.sqrt((ranks**2).sum(axis=1)).prod())
    return float(ranks[0] @ ranks[1]) / spread if spread else 0.0


def _average_ranks(values: Sequence[float]) -> list[float]:
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    place = 0
    for _, group in groupby(order, key=values.__getitem__):
        equal = list(group)
        for index in equal:
            ranks[index] = place + (len(equal) + 1) / 2
        place += len(equal)
    return ranks


def ndcg(values: Sequence[float], relevance: Sequence[float]) -> float:
    """Return the normalized discounted cumulative gain of the first `CUTOFF` documents, 0 to 1.

    The gain is the relevance itself (linear, as BEIR and MTEB have it of trec_eval), its discount 1 / log2(place + 1).
    Documents of equal value share the mean gain of their places, as in scikit-learn's `ndcg_score`: no order among
    them is the model's.

    Args:
        values: The higher, the earlier a document stands.
        relevance: Of each document, 0 or more, and not all 0.
    """
    return _discounted_gain(values, relevance) / _discounted_gain(relevance, relevance)


def _discounted_gain(values: Sequence[float], relevance: Sequence[float]) -> float:
    order = sorted(range(len(values)), key=lambda index: -values[index])
    total, place = 0.0, 1
    for _, group in groupby(order, key=values.__getitem__):
        gains = [relevance[index] for index in group]
        discounts = sum(1 / math.log2(at + 1) for at in range(place, min(place + len(gains), CUTOFF + 1)))
        total += discounts * sum(gains) / len(gains)
        place += len(gains)
    return total


class _Texts:
    """The different texts of a file behind their prompts, as rows of tokens."""

    def __init__(self, tokenizer: Any, embedding: EmbeddingRecord) -> None:
        self._tokenizer, self._embedding = tokenizer, embedding
        self._places: dict[tuple[str, str], int] = {}

    def add(self, text: str, prompt: str) -> int:
        """Return the index of a text's row."""
        return self._places.setdefault((prompt, text), len(self._places))

    def rows(self, max_tokens: int) -> list[TokenRow]:
        """Tokenize all of them."""
        left_out = {prompt: self._count_left_out(prompt) for prompt, _ in self._places}
        self._tokenizer.enable_truncation(max_tokens)
        encodings = self._tokenizer.encode_batch([prompt + text for prompt, text in self._places])
        return [
            TokenRow(tuple(encoding.ids), tuple(encoding.type_ids), left_out[prompt])
            for (prompt, _), encoding in zip(self._places, encodings, strict=True)
        ]

    def _count_left_out(self, prompt: str) -> int:
        """Return how many first tokens of a row the pooling leaves out: the prompt's and those before it."""
        if not prompt or self._embedding.includes_prompt:
            return 0
        before: int = self._tokenizer.encode("a").special_tokens_mask.index(0)
        return before + len(self._tokenizer.encode(prompt, add_special_tokens=False))


def plan_ranking(
    examples: Sequence[ScoredPair | RankedDocuments], tokenizer: Any, max_tokens: int, embedding: EmbeddingRecord
) -> Scoring:
    """Say how embeddings are scored on rows of one form.

    Args:
        examples: The rows.
        tokenizer: A ``tokenizers.Tokenizer`` without padding and truncation.
        max_tokens: Where a text is cut.
        embedding: How the checkpoint makes one vector of a text.

    Raises:
        SpecError: The pairs' scores are all the same.
    """
    texts = _Texts(tokenizer, embedding)
    pairs = [row for row in examples if isinstance(row, ScoredPair)]
    queries = [row for row in examples if isinstance(row, RankedDocuments)]
    if pairs:
        scores = [row.score for row in pairs]
        if len(set(scores)) < 2:
            raise SpecError(
                f"the scores of the evaluation file are all {scores[0]:g}, so that no order is better than another",
                hint="give pairs of different scores",
            )
        sides = [(texts.add(row.text, embedding.prompt), texts.add(row.text_pair, embedding.prompt)) for row in pairs]

        def score(vectors: "Sequence[Array]") -> dict[str, float]:
            cosines = [_cosine(vectors[left], vectors[right]) for left, right in sides]
            return {SPEARMAN: 100 * spearman(cosines, scores)}

    else:
        before_query, before_document = (embedding.find_prompt(*names) for names in (_QUERY_PROMPTS, _DOCUMENT_PROMPTS))
        places = [
            (texts.add(row.query, before_query), [texts.add(text, before_document) for text in row.documents])
            for row in queries
        ]

        def score(vectors: "Sequence[Array]") -> dict[str, float]:
            points = [
                ndcg([_cosine(vectors[query], vectors[document]) for document in documents], row.relevance)
                for (query, documents), row in zip(places, queries, strict=True)
            ]
            return {NDCG: 100 * sum(points) / len(points)}

    return Scoring(
        metric=SPEARMAN if pairs else NDCG,
        rows=len(examples),
        sequences=texts.rows(max_tokens),
        choose=lambda _, answers: _embed(answers, embedding),
        score=score,
    )


def _cosine(left: "Array", right: "Array") -> float:
    """Return the cosine of two vectors of length 1, without the digits that a batch's other rows decide in FP32."""
    return round(float(left @ right), 6)


def _embed(answers: "Mapping[str, Array]", embedding: EmbeddingRecord) -> "Array":
    """Make one vector of length 1 of a row's unpadded answers; [hidden], or [tokens, hidden] to be pooled."""
    import numpy as np

    (answer,) = answers.values()
    vector = answer.astype(np.float64)
    if vector.ndim > 1:
        pooled = {
            "cls": vector[0],
            "max": vector.max(axis=0),
            "mean": vector.mean(axis=0),
            "mean_sqrt_len_tokens": vector.sum(axis=0) / np.sqrt(len(vector)),
        }
        vector = np.concatenate([pooled[mode] for mode in embedding.pooling])
    length = float(np.linalg.norm(vector)) or 1.0
    return (vector / length).astype(np.float32)
