from hypothesis import given
from hypothesis import strategies as st
from prep_triton.engine.progress import PhaseTree


def test_a_phase_counts_within_its_parents_step():
    tree = PhaseTree()
    tree.start("build", None, 4)
    tree.complete("build", 0)
    tree.start("optimize", "build", 2)
    assert tree.complete("optimize", 0)
    assert tree.fraction == (1 + 1 / 2) / 4
    tree.finish("optimize")
    tree.finish("build")
    assert tree.fraction == 1.0


def test_small_moves_are_not_told():
    tree = PhaseTree()
    tree.start("build", None, 1000)
    message = [tree.complete("build", step) for step in range(20)]
    assert sum(message) == 2


calls = st.lists(
    st.tuples(
        st.sampled_from(["start", "complete", "finish"]),
        st.sampled_from("abc"),
        st.sampled_from("abcn"),
        st.integers(-1, 9),
    )
)


@given(calls)
def test_any_order_of_calls_keeps_the_fraction_rising_in_range(calls):
    tree, last = PhaseTree(), 0.0
    for kind, name, parent, number in calls:
        if kind == "start":
            tree.start(name, None if parent == "n" else parent, number)
        elif kind == "complete":
            tree.complete(name, number)
        else:
            tree.finish(name)
        assert last <= tree.fraction <= 1.0
        last = tree.fraction
