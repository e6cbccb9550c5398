import numpy as np
import pytest
from prep_triton.precision.int8.ranges import BINS, range_from_histogram
from prep_triton.spec import CalibrationSpec


def histogram(values):
    largest = float(np.abs(values).max())
    return np.histogram(np.abs(values), bins=BINS, range=(0, largest))[0], largest


def find(method, values, percentile=None):
    counts, largest = histogram(values)
    share = {"percentile": percentile or 99.9} if method == "percentile" else {}
    spec = CalibrationSpec(path="c.txt", method=method, **share)
    return range_from_histogram(counts, largest, spec) / largest


@pytest.fixture
def with_outlier():
    values = np.random.default_rng(0).normal(size=100_000)
    return np.append(values, 60.0)


def test_max_keeps_the_outlier(with_outlier):
    assert find("max", with_outlier) == 1.0


def test_percentile_is_where_that_share_lies_below(with_outlier):
    _, largest = histogram(with_outlier)
    expected = np.percentile(np.abs(with_outlier), 99.9)
    assert find("percentile", with_outlier) * largest == pytest.approx(expected, abs=2 * largest / BINS)
    assert find("percentile", with_outlier, percentile=100.0) == 1.0


@pytest.mark.parametrize("method", ["entropy", "mse"])
def test_a_lone_outlier_is_given_up(method, with_outlier):
    # The bulk ends at about 4.5 of 60.
    assert 0.05 < find(method, with_outlier) < 0.75


@pytest.mark.parametrize("method", ["entropy", "mse", "percentile"])
def test_evenly_spread_values_keep_almost_all_of_their_range(method):
    assert find(method, np.linspace(-3, 3, 50_000)) > 0.95


@pytest.mark.parametrize("method", ["max", "entropy", "mse", "percentile"])
def test_a_constant_tensor_keeps_its_range(method):
    assert find(method, np.full(100, 7.0)) == 1.0


def test_mse_errs_less_than_max_where_it_cuts(with_outlier):
    values = np.append(np.random.default_rng(0).normal(size=100_000), 8.0)

    def error(reach):
        step = reach * np.abs(values).max() / 127
        return ((np.clip(np.rint(values / step), -127, 127) * step - values) ** 2).sum()

    assert error(find("mse", values)) < error(1.0)
