"""Documents are ranked by what the model answers to each beside the query, once a pair."""

import numpy as np
import pytest
from prep_triton.precision.measure.ranked_rows import RankedDocuments
from prep_triton.precision.measure.scoring import plan_scoring

from tests.fakes.wordpiece import WORDS, make_tokenizer

CLS, SEP = 2, 3
RAIN, SEA, THE = WORDS.index("rain"), WORDS.index("sea"), WORDS.index("the")


def plan(*rows, max_tokens=16, **more):
    return plan_scoring("text-pair-classification", rows, make_tokenizer(), max_tokens, **more)


def test_a_pair_that_stands_twice_is_answered_once_and_scored_in_both_rows():
    scoring = plan(RankedDocuments("rain", ("sea", "the"), (1, 0)), RankedDocuments("rain", ("the", "sea"), (3, 0)))
    assert (scoring.metric, scoring.rows) == ("nDCG@10", 2)
    assert [(row.ids, row.type_ids) for row in scoring.sequences] == [
        ((CLS, RAIN, SEP, document, SEP), (0, 0, 0, 1, 1)) for document in (SEA, THE)
    ]
    # The first row is ranked as it should be, the second one the other way round.
    logits = [scoring.choose(index, {"logits": np.array([logit])}) for index, logit in enumerate((2.0, -1.0))]
    assert scoring.score(logits) == {"nDCG@10": pytest.approx(100 * (1 + 1 / np.log2(3)) / 2)}


def test_logits_beyond_a_sigmoids_last_digit_are_ranked_and_a_batchs_digits_are_not():
    scoring = plan(RankedDocuments("rain", ("sea", "the"), (1, 0)))

    def points(*logits):
        return scoring.score([scoring.choose(0, {"logits": np.array([logit], np.float32)}) for logit in logits])

    assert points(41.0, 40.0) == {"nDCG@10": pytest.approx(100)}
    assert points(1.2345678, 1.2345679) == {"nDCG@10": pytest.approx(50 * (1 + 1 / np.log2(3)))}


def test_the_text_that_is_declared_is_cut():
    rows = RankedDocuments("rain rain rain", ("sea sea the", "the"), (1, 0))
    (first, _) = plan(rows, max_tokens=7, truncation="only_second").sequences
    assert first.ids == (CLS, RAIN, RAIN, RAIN, SEP, SEA, SEP)
