"""What two releases are compared by: figures of manifests and of verification reports."""

from prep_triton.publish.figures import figures_from_release

from tests.fakes.releases import MANIFEST, make_release


def release_with_manifest():
    base = make_release()
    return make_release(entries=(base.entries[0].model_copy(update={"manifest": MANIFEST}),))


def test_figures_are_taken_from_the_manifest():
    figures = figures_from_release(release_with_manifest(), {})["bert"]
    assert (figures.model, figures.metric, figures.accuracy) == ("hub:bert-base-uncased", "accuracy", 89.5)
    assert (figures.mean_cosine, figures.min_cosine) == (0.999, 0.99)
    assert (figures.engines, figures.size_bytes) == ({"7.5": "10.13.2"}, 3)
    assert (figures.served_cosine, figures.latency_ms) == (None, None)


def test_figures_are_taken_from_the_report_where_they_are_numbers():
    report = {"entries": [{"name": "bert", "mean_cosine": 0.9, "p50_ms": 3}, {"name": "other", "p50_ms": 1}]}
    figures = figures_from_release(release_with_manifest(), report)["bert"]
    assert (figures.served_cosine, figures.latency_ms) == (0.9, 3.0)
    damaged = {"entries": ["bert", {"name": "bert", "mean_cosine": float("nan"), "p50_ms": "fast"}]}
    figures = figures_from_release(release_with_manifest(), damaged)["bert"]
    assert (figures.served_cosine, figures.latency_ms) == (None, None)


def test_release_without_manifests_has_no_figures_but_a_size():
    figures = figures_from_release(make_release(), {})["bert"]
    assert (figures.model, figures.accuracy, figures.engines, figures.size_bytes) == (None, None, {}, 3)
