"""The texts for tasks whose input the reference does not hold."""

from prep_triton.triton.verify.text_rows import masked_texts, question_pairs


def test_texts_for_tasks_that_the_reference_lacks():
    assert list(masked_texts(["one two three", "word"], "[MASK]")) == [("", "one [MASK] three"), ("", "[MASK]")]
    texts = ["a longer one", "short", "another one"]
    assert list(question_pairs(texts)) == [
        ("short", "a longer one"),
        ("another one", "short"),
        ("short", "another one"),
    ]
    assert list(question_pairs(["alone"])) == []
