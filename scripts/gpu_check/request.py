"""What is asked for."""

from dataclasses import dataclass
from pathlib import Path

from prep_triton.engine.builders import BuilderName
from prep_triton.spec import ModelSpec

# Of the blog: question answering, with seeded weights, since how fast a BERT is does not depend on them. What INT8 does
# to answers shows on MiniLM, whose weights are real.
MODELS = {
    "bert-base": ModelSpec(model="bert-base", task="question-answering", weights="random", tokenizer="minilm"),
    "distilbert": ModelSpec(model="distilbert", task="question-answering", weights="random", tokenizer="minilm"),
    "minilm": ModelSpec(model="minilm", task="feature-extraction"),
}
NOT_SERVED = frozenset({"minilm"})
BATCH = (1, 8, 16)


@dataclass(frozen=True)
class Load:
    """What the sweep and the bursts send: those of Google Cloud's blog of 2021, unless something else is asked for."""

    concurrency: str = "4:24:2"
    batch: int = 2
    seq_len: int = 384
    duration_s: float = 2.0
    repeats: int = 5
    burst_s: float = 5.0
    burst_rounds: int = 3


@dataclass(frozen=True)
class Request:
    """One check.

    `models` are names of `MODELS` or whatever else `prep export` takes; `folder` is where everything goes but the
    artifacts, which are in `workspace`.
    """

    models: tuple[str, ...]
    folder: Path
    workspace: Path
    rehearse: bool = False
    load: Load = Load()

    @property
    def builder(self) -> BuilderName:
        """Who builds the engines."""
        return "tensorrt-rtx" if self.rehearse else "tensorrt"

    @property
    def gpu(self) -> str:
        """What the engines are for: the GPU that is here, or the T4 of the blog."""
        return "t4" if self.rehearse else "native"

    @property
    def seq_lens(self) -> tuple[int, ...]:
        """The length buckets: 128, and the length that is sent."""
        return tuple(sorted({min(128, self.load.seq_len), self.load.seq_len}))

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Batches and lengths that are timed on the device."""
        shortest, longest = self.seq_lens[0], self.seq_lens[-1]
        return tuple(dict.fromkeys(((1, shortest), (1, longest), (8, shortest))))

    def spec_of(self, model: str) -> ModelSpec:
        """Return what is exported of a model."""
        return MODELS.get(model) or ModelSpec(model=model)
