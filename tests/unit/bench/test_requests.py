"""What is sent: ids within the vocabulary, of the length and batch that were asked for, or text."""

import numpy as np
import pytest
from prep_triton.bench.requests import EntryFacts, InputChoice, join_sentences, make_workload, mask_last_word
from prep_triton.errors import SpecError
from prep_triton.triton.server.load import InputTensor, ServedModel, list_parts
from tritonclient.grpc import service_pb2
from tritonclient.utils import deserialize_bytes_tensor

NAMES = ("input_ids", "attention_mask", "token_type_ids")


def model(*tensors: InputTensor, most: int = 8, **changed) -> ServedModel:
    inputs = tensors or tuple(InputTensor(name, "INT64", (-1,)) for name in NAMES)
    return ServedModel(
        **({"name": "m", "steps": (), "task": None, "config_digest": "c"} | changed), inputs=inputs, max_batch_size=most
    )


def parse(request: bytes) -> dict[str, np.ndarray]:
    message = service_pb2.ModelInferRequest.FromString(request)
    arrays = {}
    for tensor, raw in zip(message.inputs, message.raw_input_contents, strict=True):
        if tensor.datatype == "BYTES":
            array = deserialize_bytes_tensor(raw)
        else:
            array = np.frombuffer(raw, {"INT64": np.int64, "INT32": np.int32}[tensor.datatype])
        arrays[tensor.name] = array.reshape(list(tensor.shape))
    return arrays


def test_ids_are_seeded_and_within_the_vocabulary():
    facts = EntryFacts("k", vocabulary=64, longest=32)
    workload = make_workload(model(), facts, InputChoice(batch=3, sequence=16, seed=5))
    assert len(set(workload.requests)) == 64
    for request in workload.requests:
        arrays = parse(request)
        assert {name: array.shape for name, array in arrays.items()} == dict.fromkeys(NAMES, (3, 16))
        assert arrays["input_ids"].min() > 0
        assert arrays["input_ids"].max() < 64
        assert (arrays["attention_mask"] == 1).all()
        assert (arrays["token_type_ids"] == 0).all()
    assert workload.lengths == (16,)
    same = make_workload(model(), facts, InputChoice(batch=3, sequence=16, seed=5))
    assert same.digest == workload.digest
    other = make_workload(model(), facts, InputChoice(batch=3, sequence=16, seed=6))
    assert other.digest != workload.digest


def test_lengths_follow_the_entry():
    assert make_workload(model(), EntryFacts(longest=32), InputChoice()).lengths == (32,)
    assert make_workload(model(), EntryFacts(longest=512), InputChoice()).lengths == (128,)
    fixed = model(*(InputTensor(name, "INT32", (384,)) for name in NAMES))
    assert make_workload(fixed, EntryFacts(), InputChoice()).lengths == (384,)
    with pytest.raises(SpecError, match="takes 384 tokens a row, not 128"):
        make_workload(fixed, EntryFacts(), InputChoice(sequence=128))
    with pytest.raises(SpecError, match="takes at most 32 tokens"):
        make_workload(model(), EntryFacts(longest=32), InputChoice(sequence=33))


def test_an_entry_without_a_batch_axis_of_the_servers_names_its_own():
    own = model(*(InputTensor(name, "INT64", (-1, -1)) for name in NAMES), most=0)
    request = make_workload(own, EntryFacts(), InputChoice(batch=2, sequence=4)).requests[0]
    assert parse(request)["input_ids"].shape == (2, 4)
    single = model(most=0, has_batch=False)
    assert parse(make_workload(single, EntryFacts(), InputChoice(sequence=4)).requests[0])["input_ids"].shape == (4,)
    with pytest.raises(SpecError, match="takes one row a request"):
        make_workload(single, EntryFacts(), InputChoice(batch=2))


def test_a_batch_beyond_the_entry_and_other_inputs_are_refused():
    with pytest.raises(SpecError, match="--batch 9 is more than m takes: 8"):
        make_workload(model(), EntryFacts(), InputChoice(batch=9))
    with pytest.raises(SpecError, match="takes pixels of FP32: neither ids nor text"):
        make_workload(model(InputTensor("pixels", "FP32", (3,))), EntryFacts(), InputChoice())


def test_texts_of_a_file_are_sent_as_they_are_and_all_of_them():
    texts = tuple(f"text {number} é" for number in range(100))
    workload = make_workload(
        model(InputTensor("TEXT", "BYTES", (1,))), EntryFacts(), InputChoice(batch=2, texts=texts, join_texts=False)
    )
    sent = [value.decode() for request in workload.requests for value in parse(request)["TEXT"].ravel()]
    assert set(sent) == set(texts)
    assert parse(workload.requests[0])["TEXT"].shape == (2, 1)
    assert workload.describe().input_kind == "text"


def test_questions_and_masks_are_what_their_tasks_take():
    question = model(
        InputTensor("QUESTION", "BYTES", (1,)), InputTensor("CONTEXT", "BYTES", (1,)), task="question-answering"
    )
    choice = InputChoice(texts=("The harbour was quiet.",), join_texts=False)
    arrays = parse(make_workload(question, EntryFacts(), choice).requests[0])
    assert arrays["QUESTION"].item() == b"What is said of The?"
    assert arrays["CONTEXT"].item() == b"The harbour was quiet."
    masked = model(InputTensor("TEXT", "BYTES", (1,)), task="fill-mask")
    assert parse(make_workload(masked, EntryFacts(), choice).requests[0])["TEXT"].item() == b"The harbour was [MASK]"
    assert mask_last_word("a [MASK] b", "[MASK]") == "a [MASK] b"
    assert mask_last_word("a b", "<mask>") == "a <mask>"


def test_texts_are_made_of_sentences_with_a_seed():
    sentences = ["One.", "Two two.", "Three three three."]
    texts = join_sentences(sentences, 1)
    assert len(texts) == 64
    assert texts == join_sentences(sentences, 1) != join_sentences(sentences, 2)
    assert all(any(sentence in text for sentence in sentences) for text in texts)


def test_the_parts_of_an_ensemble_are_its_steps():
    assert list_parts([model(name="t", steps=("a", "b")), model(name="a")]) == ["a", "b"]


def test_a_priority_is_sent_as_the_protocol_has_it():
    ranked = model(priority_levels=2)
    plain = make_workload(ranked, EntryFacts(), InputChoice(sequence=4))
    workload = make_workload(ranked, EntryFacts(), InputChoice(sequence=4, priority=1))
    messages = [service_pb2.ModelInferRequest.FromString(side.requests[0]) for side in (plain, workload)]
    assert [message.parameters["priority"].uint64_param for message in messages] == [0, 1]
    assert workload.describe().priority == 1
    assert workload.digest != plain.digest


@pytest.mark.parametrize(
    ("changed", "message", "hint"),
    [
        ({}, "m has no priority levels, so Triton would take no notice of priority 3", "assemble it with --priority-l"),
        ({"priority_levels": 2}, "m has 2 priority levels", "write a priority from 1 to 2"),
        (
            {"steps": ("a", "b")},
            "the steps of m have no priority levels",
            "assemble its model with --priority-levels 3",
        ),
    ],
)
def test_a_priority_that_triton_would_ignore_is_refused(changed: dict, message: str, hint: str):
    with pytest.raises(SpecError) as refused:
        make_workload(model(**changed), EntryFacts(), InputChoice(sequence=4, priority=3))
    assert message in refused.value.message
    assert refused.value.hint
    assert refused.value.hint.startswith(hint)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_pair_entry_gets_one_query_with_its_documents(batch):
    pairs = model(
        InputTensor("TEXT", "BYTES", (1,)),
        InputTensor("TEXT_PAIR", "BYTES", (1,)),
        most=0,
        task="text-pair-classification",
    )
    choice = InputChoice(batch=batch, texts=("Rain falls.", "The sea is wide."), join_texts=False)
    arrays = parse(make_workload(pairs, EntryFacts(), choice).requests[0])
    assert {name: array.shape for name, array in arrays.items()} == {"TEXT": (1, 1), "TEXT_PAIR": (batch, 1)}
    assert arrays["TEXT"].tolist() == [[b"What is said of Rain?"]]
