"""What a task is: the one table of the tasks that a model can have.

A seventh task is one row of `TASKS`, one word of `Task`, and the branches that mypy then points out: each ends in
``assert_never``. What runs inside the server (`triton/inside_server`) imports nothing of `prep_triton` and has its
own functions for each task; a test holds their tensors against this table.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, get_args

Task = Literal[
    "fill-mask",
    "question-answering",
    "text-classification",
    "text-pair-classification",
    "token-classification",
    "feature-extraction",
    "sentence-embedding",
]
TASK_NAMES: tuple[Task, ...] = get_args(Task)

# What other tools call a task.
OTHER_TASK_NAMES: Mapping[str, Task] = MappingProxyType(
    {
        "sequence-classification": "text-classification",
        "sentiment-analysis": "text-classification",
        "text-ranking": "text-pair-classification",
        "reranking": "text-pair-classification",
        "rerank": "text-pair-classification",
        "reranker": "text-pair-classification",
        "cross-encoder": "text-pair-classification",
        "nli": "text-pair-classification",
        "natural-language-inference": "text-pair-classification",
        "ner": "token-classification",
        "masked-lm": "fill-mask",
        "qa": "question-answering",
        "embedding": "sentence-embedding",
        "embeddings": "sentence-embedding",
        "sentence-similarity": "sentence-embedding",
    }
)

# A task, or the one that the checkpoint was saved with.
TaskChoice = Literal["auto", Task]
TASK_CHOICES: tuple[TaskChoice, ...] = ("auto", *TASK_NAMES)

# What a text is: any text, one with a [MASK], a question and the context that answers it, or two texts of equal rank.
TextForm = Literal["plain", "masked", "question", "pair"]

# The inputs of each; the last one is the text that may be long.
_TEXT_INPUTS: Mapping[TextForm, tuple[str, ...]] = MappingProxyType(
    {
        "plain": ("TEXT",),
        "masked": ("TEXT",),
        "question": ("QUESTION", "CONTEXT"),
        "pair": ("TEXT", "TEXT_PAIR"),
    }
)

# What the last dimension of a model's outputs is called in a transformers configuration; `embedding` is in none: it is
# what sentence-transformers' modules make of the hidden size.
OutputWidth = Literal["vocab_size", "num_labels", "hidden_size", "embedding"]

# The graph's modules, by the beginnings of their nodes' names, that compute in FP32 whatever the precision: sums over
# all tokens of a text, the root of a sum of squares, and positions that are counted.
POOLING_SCOPE, NORMALIZE_SCOPE, POSITIONS_SCOPE = "sentence.pooling", "sentence.normalize", "positions"

# What an attention_mask says of a prompt's tokens where the pooling leaves them out (include_prompt: false): every
# value but 0 attends, and the pooling counts those of 1. `inside_server` has its own.
PROMPT_MASK = 2

# The optional input of a text entry whose checkpoint declares prompts: for each text the name of one, or nothing.
PROMPT_NAME = "PROMPT_NAME"

MASK_TOKEN = "[MASK]"  # noqa: S105 - BERT's word, not a secret


@dataclass(frozen=True)
class TextTensor:
    """One tensor of the entries that turn text into answers.

    `dtype` is Triton's word without its ``TYPE_`` prefix. `dims` are without the batch axis: a fixed size, -1 for
    the length of the sequence, ``width`` for the last dimension of the model's outputs, or ``best`` for as many
    labels as are answered (`TextSpec.top_k`, or all).
    """

    name: str
    dtype: str
    dims: tuple[int | Literal["width", "best"], ...] = (1,)


# A score of every label, in the order of the labels: what answers where `TextSpec.answers` is ``scores``.
SCORES = TextTensor("SCORES", "FP32", ("width",))


@dataclass(frozen=True)
class LabelledRows:
    """One way to score a model of the task: the metric, the fields of a labelled row, and a row to copy.

    `labels` says how many labels a model has that can be scored so: several are chosen from, and one is ranked by.
    """

    metric: str
    fields: tuple[str, ...]
    example: str
    labels: Literal["any", "one", "several"] = "any"

    def fits(self, labels: int) -> bool:
        """Whether a model with so many labels can be scored so."""
        return {"any": True, "one": labels == 1, "several": labels > 1}[self.labels]


@dataclass(frozen=True)
class TaskFacts:
    """One task.

    Args:
        class_suffixes: The transformers class is an architecture's `class_prefix` and one of these. The first is the
            one that is exported; a checkpoint of any of them has the task.
        outputs: The graph's outputs, which are attributes of the transformers output of the same name.
        width: What their last dimension is, or None where they have no dimension beyond the sequence.
        per_token: Whether there is an output for each position of the sequence.
        text_form: What a text is.
        details: What the post-processor takes from the tokenizer beside the model's outputs and ``WINDOW``.
        answers: What a client reads. The first one's name and those of the texts tell the task.
        options: The fields of `TextSpec` that belong to this task and not to all.
        labelled: How it is scored; of several the model's labels and the fields of a file's rows decide.
    """

    class_suffixes: tuple[str, ...]
    outputs: tuple[str, ...]
    width: OutputWidth | None
    text_form: TextForm
    answers: tuple[TextTensor, ...]
    per_token: bool = True
    details: tuple[TextTensor, ...] = ()
    options: tuple[str, ...] = ()
    labelled: tuple[LabelledRows, ...] = ()

    @property
    def has_labels(self) -> bool:
        """Whether the last dimension is named by ``id2label``."""
        return self.width == "num_labels"

    @property
    def scores_texts(self) -> bool:
        """Whether an answer is a score of each label for the text as a whole."""
        return self.has_labels and not self.per_token

    @property
    def answers_embedding(self) -> bool:
        """Whether an answer is one vector of the hidden states of all tokens."""
        return self.pools_outside or self.pools_in_graph

    @property
    def pools_outside(self) -> bool:
        """Whether the graph answers token vectors, of which the post-processor makes one."""
        return self.width == "hidden_size"

    @property
    def pools_in_graph(self) -> bool:
        """Whether the graph makes the one vector itself."""
        return self.width == "embedding"

    @property
    def has_postprocessor(self) -> bool:
        """Whether something has to be made of the graph's outputs before a client reads them."""
        return not self.pools_in_graph

    @property
    def answers_tokens(self) -> bool:
        """Whether an answer is a token: the outputs are as wide as the vocabulary, and need it to be read."""
        return self.width == "vocab_size"

    @property
    def text_inputs(self) -> tuple[str, ...]:
        """The inputs of a text model; the last one is the text that may be long."""
        return _TEXT_INPUTS[self.text_form]

    @property
    def takes_two_texts(self) -> bool:
        """Whether a row of the model has two texts, which its token types may tell apart."""
        return len(self.text_inputs) > 1

    @property
    def takes_pairs(self) -> bool:
        """Whether it scores two texts together: one TEXT may stand beside several TEXT_PAIR."""
        return self.text_form == "pair"

    @property
    def is_declared_beside(self) -> bool:
        """Whether a checkpoint says so beside the class that it was saved with, which another task has as well."""
        return self.takes_pairs or self.pools_in_graph


_OFFSETS = TextTensor("OFFSETS", "INT32", (-1, 2))
_WORDS = TextTensor("WORDS", "INT32", (-1,))
_SOURCE = TextTensor("SOURCE", "STRING")

SPEARMAN = "Spearman correlation"
NDCG = "nDCG@10"
_RANKED_DOCUMENTS = LabelledRows(
    metric=NDCG,
    fields=("query", "documents", "relevance"),
    example='{"query": "sea travel", "documents": ["A ship sails.", "It rains."], "relevance": [1, 0]}',
)
_RANKED_ROWS = (
    LabelledRows(
        metric=SPEARMAN,
        fields=("text", "text_pair", "score"),
        example='{"text": "A ship sails.", "text_pair": "A boat is at sea.", "score": 4.2}',
    ),
    _RANKED_DOCUMENTS,
)

TASKS: Mapping[Task, TaskFacts] = MappingProxyType(
    {
        "fill-mask": TaskFacts(
            # BertForPreTraining has the masked-LM head beside next-sentence prediction.
            class_suffixes=("ForMaskedLM", "ForPreTraining"),
            outputs=("logits",),
            width="vocab_size",
            text_form="masked",
            answers=(TextTensor("TOKENS", "STRING"),),
            options=("top_k",),
            labelled=(
                LabelledRows(
                    metric="top-1 accuracy",
                    fields=("text", "label"),
                    example='{"text": "Rain falls from the [MASK].", "label": "sky"}',
                ),
            ),
        ),
        "question-answering": TaskFacts(
            class_suffixes=("ForQuestionAnswering",),
            outputs=("start_logits", "end_logits"),
            width=None,
            text_form="question",
            details=(_OFFSETS, _SOURCE),
            answers=(
                TextTensor("ANSWER", "STRING"),
                TextTensor("SCORE", "FP32"),
                TextTensor("START", "INT64"),
                TextTensor("END", "INT64"),
            ),
            options=("max_answer_tokens", "handle_impossible_answer"),
            labelled=(
                LabelledRows(
                    metric="F1",
                    fields=("question", "context", "answers"),
                    example='{"question": "Who wrote?", "context": "Ada wrote.", "answers": ["Ada"]}',
                ),
            ),
        ),
        "text-classification": TaskFacts(
            class_suffixes=("ForSequenceClassification",),
            outputs=("logits",),
            width="num_labels",
            per_token=False,
            text_form="plain",
            answers=(TextTensor("LABEL", "STRING", ("best",)), TextTensor("SCORE", "FP32", ("best",))),
            options=("top_k", "answers"),
            labelled=(
                LabelledRows(
                    metric="accuracy",
                    fields=("text", "label"),
                    example='{"text": "A fine film.", "label": "positive"}',
                    labels="several",
                ),
            ),
        ),
        "text-pair-classification": TaskFacts(
            class_suffixes=("ForSequenceClassification",),
            outputs=("logits",),
            width="num_labels",
            per_token=False,
            text_form="pair",
            answers=(TextTensor("LABEL", "STRING", ("best",)), TextTensor("SCORE", "FP32", ("best",))),
            options=("top_k", "answers"),
            labelled=(
                LabelledRows(
                    metric="accuracy",
                    fields=("text", "text_pair", "label"),
                    example='{"text": "Ada wrote.", "text_pair": "Somebody wrote.", "label": "entailment"}',
                    labels="several",
                ),
                replace(_RANKED_DOCUMENTS, labels="one"),
            ),
        ),
        "token-classification": TaskFacts(
            class_suffixes=("ForTokenClassification",),
            outputs=("logits",),
            width="num_labels",
            text_form="plain",
            details=(_OFFSETS, _WORDS, _SOURCE),
            answers=(TextTensor("ENTITIES", "STRING"),),
            labelled=(
                LabelledRows(
                    metric="token accuracy",
                    fields=("tokens", "labels"),
                    example='{"tokens": ["Ada", "wrote"], "labels": ["B-PER", "O"]}',
                    labels="several",
                ),
            ),
        ),
        "feature-extraction": TaskFacts(
            class_suffixes=("Model",),
            outputs=("last_hidden_state",),
            width="hidden_size",
            text_form="plain",
            answers=(TextTensor("EMBEDDING", "FP32", ("width",)),),
            options=("normalize",),
            labelled=_RANKED_ROWS,
        ),
        "sentence-embedding": TaskFacts(
            class_suffixes=("Model",),
            outputs=("embedding",),
            width="embedding",
            per_token=False,
            text_form="plain",
            answers=(TextTensor("EMBEDDING", "FP32", ("width",)),),
            labelled=_RANKED_ROWS,
        ),
    }
)


def tasks_with_option(option: str) -> tuple[Task, ...]:
    """Return the tasks that a field of `TextSpec` belongs to; all where it belongs to none in particular."""
    tasks = tuple(task for task, facts in TASKS.items() if option in facts.options)
    return tasks or TASK_NAMES


def find_task(texts: Collection[str], answers: Collection[str]) -> Task | None:
    """Return the task of a text model by the names of its inputs and outputs."""
    if SCORES.name in answers:
        candidates = tasks_with_option("answers")
    else:
        candidates = tuple(task for task, facts in TASKS.items() if facts.answers[0].name in answers)
    return next((task for task in candidates if set(TASKS[task].text_inputs) == set(texts) - {PROMPT_NAME}), None)
