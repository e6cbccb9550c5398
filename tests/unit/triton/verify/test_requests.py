"""The lengths and batches of requests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.triton.verify.requests import SequenceLengths, full_batches

from scripts.benchmarks.records import make_entry


@given(st.lists(st.integers(), min_size=1, max_size=20), st.integers(1, 9))
def test_every_batch_is_full_and_every_row_is_in_one(rows, size):
    batches = list(full_batches(rows, size))
    assert all(len(batch) == size for batch in batches)
    dealt = [row for batch in batches for row in batch]
    assert dealt[: len(rows)] == rows
    assert len(dealt) - len(rows) < size


@pytest.mark.parametrize(("length", "padded"), [(1, 4), (4, 4), (5, 8), (8, 8), (9, 9)])
def test_a_length_is_padded_to_its_bucket_within_the_profiles(length, padded):
    entry = make_entry(length_buckets=(2, 4, 8, 16), spec={"min_sequence": 3, "max_sequence": 12})
    lengths = SequenceLengths.from_entry(entry)
    assert lengths.buckets == (4, 8)
    assert lengths.padded(length) == padded


def test_without_buckets_a_length_is_at_least_the_profiles_shortest():
    lengths = SequenceLengths.from_entry(make_entry(spec={"min_sequence": 3}))
    assert [lengths.padded(length) for length in (1, 3, 5)] == [3, 3, 5]


def test_rows_that_are_padded_to_the_longest_of_a_request_have_no_buckets():
    spec = {"min_sequence": 3, "serving": {"padding": "longest"}}
    lengths = SequenceLengths.from_entry(make_entry(length_buckets=(4, 8), spec=spec))
    assert [lengths.padded(length) for length in (1, 5, 9)] == [3, 5, 9]
