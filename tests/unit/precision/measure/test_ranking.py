"""Rank correlation and nDCG are those of scipy and scikit-learn; texts get their prompts, once each."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.artifact import EmbeddingRecord
from prep_triton.errors import SpecError
from prep_triton.precision.measure.ranked_rows import RankedDocuments, ScoredPair
from prep_triton.precision.measure.ranking import ndcg, spearman
from prep_triton.precision.measure.scoring import plan_scoring

from tests.fakes.wordpiece import WORDS, make_tokenizer

CLS, SEP = 2, 3
RAIN, SEA, THE = WORDS.index("rain"), WORDS.index("sea"), WORDS.index("the")
# Few values, so that many are equal.
VALUES = st.integers(-3, 3).map(float)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=2, max_size=30))
def test_the_correlation_is_scipys_with_equal_values_too(pairs):
    stats = pytest.importorskip("scipy.stats")
    values, scores = zip(*pairs, strict=True)
    expected = stats.spearmanr(values, scores).statistic if len({*values}) > 1 and len({*scores}) > 1 else 0.0
    assert spearman(values, scores) == pytest.approx(expected, abs=1e-12)


def test_the_correlation_by_hand():
    # Ranks 1 2 3 4 and 2 1 4 3: 1 - 6 * 4 / (4 * 15).
    assert spearman([0.1, 0.2, 0.5, 0.9], [2, 1, 8, 5]) == pytest.approx(0.6)
    # Equal values share ranks: 1.5 1.5 3 against 1 2 3.
    assert spearman([1, 1, 2], [1, 2, 3]) == pytest.approx(3**0.5 / 2)


@given(st.lists(st.tuples(VALUES, st.integers(0, 4).map(float)), min_size=2, max_size=30))
def test_the_gain_is_scikit_learns_with_equal_values_and_beyond_ten(rows):
    metrics = pytest.importorskip("sklearn.metrics")
    values, relevance = zip(*rows, strict=True)
    if any(relevance):
        expected = metrics.ndcg_score([relevance], [values], k=10)
        assert ndcg(values, relevance) == pytest.approx(expected, abs=1e-12)


def test_the_gain_by_hand():
    """Wikipedia's example of linear gain: 6.861 of 7.141; and a document beyond the tenth place counts for nothing."""
    assert ndcg([6, 5, 4, 3, 2, 1], [3, 2, 3, 0, 1, 2]) == pytest.approx(0.961, abs=5e-4)
    assert ndcg([*range(11, 0, -1)], [0] * 10 + [1]) == 0
    assert ndcg([*range(10, 0, -1)], [0] * 9 + [1]) == pytest.approx(1 / np.log2(11))


def plan(*examples, **embedding):
    return plan_scoring("sentence-embedding", examples, make_tokenizer(), 6, EmbeddingRecord(**embedding))


def test_pairs_are_scored_by_the_order_of_their_cosines_each_text_once():
    scoring = plan(
        ScoredPair("rain", "sea", 1), ScoredPair("rain", "the", 2), ScoredPair("sea", "the", 9), prompt="the "
    )
    assert (scoring.metric, scoring.rows) == ("Spearman correlation", 3)
    assert [row.ids for row in scoring.sequences] == [(CLS, THE, word, SEP) for word in (RAIN, SEA, THE)]
    vectors = [scoring.choose(0, {"embedding": np.array(vector)}) for vector in ([2.0, 0], [0, 3.0], [1.0, 1.0001])]
    # Cosines 0, 0.7071 and a little more: the given order.
    assert scoring.score(vectors) == {"Spearman correlation": pytest.approx(100)}
    assert scoring.score([vectors[2], vectors[1], vectors[0]]) == {"Spearman correlation": pytest.approx(-100)}
    assert scoring.score([vectors[0]] * 3) == {"Spearman correlation": 0}


def test_queries_and_documents_have_the_prompts_that_the_library_gives_them():
    prompts = {"query": "the ", "passage": "sea "}
    queries = [RankedDocuments("rain", ("rain", "sea"), (0, 1)), RankedDocuments("sea", ("sea", "rain"), (0, 2))]
    scoring = plan(*queries, prompts=prompts, includes_prompt=False)
    assert (scoring.metric, scoring.rows) == ("nDCG@10", 2)
    rows = {(row.ids[1:-1], tuple(row.mask)) for row in scoring.sequences}
    left_out = (2, 2, 1, 1)
    assert rows == {((first, word), left_out) for first in (THE, SEA) for word in (RAIN, SEA)}
    by_ids = {row.ids: index for index, row in enumerate(scoring.sequences)}
    vectors = [np.eye(4)[0]] * 4
    for query, document in ((RAIN, SEA), (SEA, RAIN)):
        vectors[by_ids[CLS, THE, query, SEP]] = vectors[by_ids[CLS, SEA, document, SEP]] = np.eye(4)[1 + (query == SEA)]
    assert scoring.score(vectors) == {"nDCG@10": pytest.approx(100)}
    # Every document at once is no order: each shares both places.
    assert scoring.score([np.eye(4)[0]] * 4) == {"nDCG@10": pytest.approx(100 * (1 + 1 / np.log2(3)) / 2)}


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        (("cls",), [3, 0]),
        (("max",), [3, 4]),
        (("mean",), [1, 4 / 3]),
        (("mean_sqrt_len_tokens", "cls"), [3**0.5, 4 / 3**0.5, 3, 0]),
    ],
)
def test_token_vectors_are_pooled_as_declared(pooling, expected):
    scoring = plan(ScoredPair("rain", "sea", 1), ScoredPair("sea", "sea", 2), pooling=pooling)
    hidden = np.array([[3, 0], [0, 4], [0, 0]], np.float32)
    vector = scoring.choose(0, {"last_hidden_state": hidden})
    assert vector == pytest.approx(np.array(expected) / np.linalg.norm(expected), abs=1e-6)


def test_scores_that_are_all_the_same_are_refused():
    with pytest.raises(SpecError, match="the scores of the evaluation file are all 3, so that no order is better"):
        plan(ScoredPair("rain", "sea", 3), ScoredPair("sea", "the", 3))
