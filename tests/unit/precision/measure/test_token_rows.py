from hypothesis import given
from hypothesis import strategies as st
from prep_triton.precision.measure.token_rows import split_batches


@given(st.lists(st.integers(2, 512), max_size=60), st.sampled_from([1, 9, 30522]))
def test_batches_hold_every_row_once_are_small_and_alike(lengths, width):
    batches = list(split_batches(lengths, width))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    flat = [lengths[index] for batch in batches for index in batch]
    assert flat == sorted(lengths, reverse=True)
    for batch in batches:
        tokens = len(batch) * lengths[batch[0]]
        assert len(batch) == 1 or (len(batch) <= 16 and tokens <= 2048 and tokens * width <= 2**24)
