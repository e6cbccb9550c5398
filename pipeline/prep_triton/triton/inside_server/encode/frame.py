"""The special tokens round a text, or round and between two, as the tokenizer itself puts them."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Side:
    """Token ids and type ids that stand before, between or after the texts."""

    ids: list[int]
    types: list[int]

    def __add__(self, other: "Side") -> "Side":
        return Side(self.ids + other.ids, self.types + other.types)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Frame:
    """The special tokens round one text, or round and between two, and the type of each text."""

    sides: tuple[Side, ...]
    types: tuple[int, ...]

    def __len__(self) -> int:
        return sum(len(side) for side in self.sides)


def frame_from_tokenizer(tokenizer: Any, texts: int) -> Frame:
    """Find the special tokens by having the tokenizer put them round one known text, or two."""
    known = tokenizer.encode("a", add_special_tokens=False)
    if not len(known):
        raise ValueError("tokenizer.json turns the letter 'a' into no token: it is not a tokenizer of BERT's kind")
    whole = tokenizer.encode(*["a"] * texts)  # post_process() forgets which token is of the first text
    sides, types, at = [], [], 0
    for place in range(texts):
        begin = whole.sequence_ids.index(place)
        sides.append(Side(whole.ids[at:begin], whole.type_ids[at:begin]))
        types.append(whole.type_ids[begin])
        at = begin + len(known)
    sides.append(Side(whole.ids[at:], whole.type_ids[at:]))
    return Frame(tuple(sides), tuple(types))
