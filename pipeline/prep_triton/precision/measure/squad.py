"""How question answering is scored: exact match and F1 by SQuAD's rules.

Source: the official evaluation scripts of SQuAD v1.1 and v2.0 (https://rajpurkar.github.io/SQuAD-explorer/, Rajpurkar
et al., arXiv:1606.05250 §6.1 and arXiv:1806.03822). Before two answers are compared, both are lowered, stripped of
ASCII punctuation, then of the articles a, an and the, and their whitespace is made single.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

# A mark is removed, not replaced: "U.S." is "us", and "the-end" is the one word "theend".
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")


@dataclass(frozen=True)
class SquadScore:
    """Exact match and F1 over all questions, in points (0..100)."""

    exact_match: float
    f1: float


def normalize_answer(text: str) -> str:
    """Return the form of an answer that is compared."""
    unmarked = text.lower().translate(_WITHOUT_PUNCTUATION)
    return " ".join(_ARTICLE.sub(" ", unmarked).split())


def is_exact_match(prediction: str, gold: str) -> bool:
    """Tell whether two answers are the same after normalisation."""
    return normalize_answer(prediction) == normalize_answer(gold)


def compute_f1(prediction: str, gold: str) -> float:
    """Return the F1, 0..1, of the words that two answers share, each counted as often as it stands in both.

    Where nothing is left of either after normalisation, they agree (1) only if nothing is left of both: the rule of
    v2.0, which v1.1 lacks because its questions all have answers.
    """
    predicted, accepted = normalize_answer(prediction).split(), normalize_answer(gold).split()
    if not predicted or not accepted:
        return float(predicted == accepted)
    shared = (Counter(predicted) & Counter(accepted)).total()
    return 2 * shared / (len(predicted) + len(accepted))


def score_answers(predictions: Sequence[str], golds: Sequence[Sequence[str]]) -> SquadScore:
    """Score one prediction a question; the best of its gold answers counts.

    Args:
        predictions: What was answered; an empty text means that there is no answer.
        golds: The accepted answers of each question; none at all where the question cannot be answered.
    """
    exact = f1 = 0.0
    for prediction, answers in zip(predictions, golds, strict=True):
        # As in v2.0, a gold answer of which normalisation leaves nothing accepts nothing.
        accepted = [gold for gold in answers if normalize_answer(gold)] or [""]
        exact += max(is_exact_match(prediction, gold) for gold in accepted)
        f1 += max(compute_f1(prediction, gold) for gold in accepted)
    return SquadScore(exact_match=100 * exact / len(predictions), f1=100 * f1 / len(predictions))
