"""The choices of a tokenizer entry, read from the parameters of its config.pbtxt."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .pairs import STRATEGIES
from .prompts import Prompts

QUESTION_ANSWERING = "question-answering"
PAIRS = "text-pair-classification"
PADDINGS = ("buckets", "longest")


@dataclass(frozen=True)
class EncoderSettings:
    """The choices of `TextSpec`, and what the model takes: `max_rows` a request, padded to one length.

    That is a length bucket or, with `padding` longest, the length of the longest row, at least `min_length`.
    `prompts` are put before texts; `truncation` says which of two texts is cut (`pairs.STRATEGIES`).
    """

    task: str
    length_buckets: tuple[int, ...]
    max_rows: int
    long_input: str = "truncate"
    stride: int = 64
    prompts: Prompts = field(default_factory=Prompts)
    max_characters: int = 1_000_000
    padding: str = "buckets"
    min_length: int = 1
    truncation: str = STRATEGIES[0]

    @classmethod
    def parse(cls, parameters: Mapping[str, str], max_batch_size: int) -> "EncoderSettings":
        """Read the parameters of config.pbtxt.

        Raises:
            ValueError: One is not what it should be.
        """
        padding = parameters.get("padding", "buckets")
        if padding not in PADDINGS:
            raise ValueError(f"parameter padding is '{padding}', expected one of {', '.join(PADDINGS)}")
        truncation = parameters.get("truncation", STRATEGIES[0])
        if truncation not in STRATEGIES:
            raise ValueError(f"parameter truncation is '{truncation}', expected one of {', '.join(STRATEGIES)}")
        return cls(
            task=parameters["task"],
            length_buckets=tuple(int(bucket) for bucket in parameters["length_buckets"].split(",")),
            max_rows=max_batch_size or int(parameters["max_rows"]),
            long_input=parameters["long_input"],
            stride=int(parameters["stride"]),
            prompts=Prompts.parse(parameters),
            max_characters=int(parameters.get("max_characters", cls.max_characters)),
            padding=padding,
            min_length=int(parameters.get("min_length", cls.min_length)),
            truncation=truncation,
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the text inputs; the last is the one that may be long."""
        if self.task == PAIRS:
            return ("TEXT", "TEXT_PAIR")
        return ("QUESTION", "CONTEXT") if self.task == QUESTION_ANSWERING else ("TEXT",)
