"""What is put before a text: the prompt that its request names, or the default."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# The optional input: for each text the name of a prompt, or nothing for the default.
INPUT = "PROMPT_NAME"
# What an attention mask says of a prompt's tokens where the pooling leaves them out; every value but 0 attends.
MASK = 2


class TextError(ValueError):
    """A request that has no answer; says which row, and why."""


@dataclass(frozen=True)
class Prompts:
    """The prompts of a checkpoint: `default` stands before a text that names none of `by_name`.

    Without `is_pooled` the pooling leaves a prompt's tokens out, and what stands before them.
    """

    default: str = ""
    by_name: Mapping[str, str] = field(default_factory=dict)
    is_pooled: bool = True

    @classmethod
    def parse(cls, parameters: Mapping[str, str]) -> "Prompts":
        """Read the parameters of config.pbtxt.

        Raises:
            ValueError: One is not what it should be.
        """
        by_name = json.loads(parameters.get("prompts", "{}"))
        if not isinstance(by_name, dict) or not all(isinstance(text, str) for text in by_name.values()):
            raise ValueError("parameter prompts is not a JSON object with a text by each name")
        return cls(parameters.get("prompt", ""), by_name, parameters.get("include_prompt", "true") == "true")

    def choose(self, names: Any, count: int) -> list[str]:
        """Return the prompt of each text.

        Args:
            names: UTF-8 bytes, one a text; None where the request names none.
            count: The number of texts.

        Raises:
            TextError: A name is not one of them, or there are not as many names as texts.
        """
        if names is None:
            return [self.default] * count
        flat = names.reshape(-1)
        if len(flat) != count:
            raise TextError(f"{INPUT} has {len(flat)} names for {count} texts: send one a text")
        return [self._find(content, row) for row, content in enumerate(flat)]

    def _find(self, content: bytes, row: int) -> str:
        if not content:
            return self.default
        name = content.decode(errors="replace")
        if name not in self.by_name:
            known = ", ".join(self.by_name) or "none"
            raise TextError(f"row {row} of {INPUT} is '{name[:80]}', and the model's prompts are {known}")
        return self.by_name[name]

    def count_tokens(self, tokenizer: Any) -> Mapping[str, int]:
        """Return how many tokens each prompt has by itself, for the pooling to leave out; none where it does not."""
        if self.is_pooled:
            return {}
        texts: Sequence[str] = [text for text in {self.default, *self.by_name.values()} if text]
        return {text: len(tokenizer.encode(text, add_special_tokens=False)) for text in texts}
