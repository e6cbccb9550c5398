"""The figures of 2021, and our formula held against what was made of them then."""

import pytest
from prep_triton.bench.cost import inferences_per_usd, usd_per_million
from prep_triton.bench.published import load_published


def test_our_formula_gives_the_published_163():
    """(465 / 0.54) / (24 / 4.56): TensorRT on a T4 against DistilBERT on 96 cores."""
    rows = {(row.model, row.runtime, row.accelerator): row for row in load_published()}
    fast, slow = rows["bert-base", "tensorrt", "t4"], rows["distilbert", "tensorflow", None]
    bought = [inferences_per_usd(row.inferences_per_s, row.usd_per_hour) for row in (fast, slow)]
    assert bought[0] / bought[1] == pytest.approx(465 / 0.54 / (24 / 4.56))
    assert int(bought[0] / bought[1]) == 163
    prices = [usd_per_million(row.inferences_per_s, row.usd_per_hour) for row in (fast, slow)]
    assert prices[1] / prices[0] == pytest.approx(bought[0] / bought[1])
    assert prices == pytest.approx([0.3226, 52.78], rel=1e-3)


def test_the_five_deployments_are_there_with_their_conditions():
    rows = load_published()
    assert [(row.latency_ms, row.inferences_per_s) for row in rows] == [
        (700, 12),
        (369, 24),
        (230, 34.7),
        (118, 73.3),
        (50, 465),
    ]
    assert {row.sequence_length for row in rows} == {384}
    assert {(row.machine, row.usd_per_hour) for row in rows} == {("n1-standard-96", 4.56), ("n1-standard-4", 0.54)}
    assert all(row.source.url.startswith("https://") and row.source.date.startswith("2021-") for row in rows)
