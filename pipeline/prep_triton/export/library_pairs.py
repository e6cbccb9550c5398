"""The score of two texts by sentence-transformers' CrossEncoder or, where it is not installed, by torch as declared."""

import importlib.metadata
import importlib.util
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from prep_triton.export.library_embeddings import shortest_length

log = logging.getLogger(__name__)

_LIBRARY = "sentence_transformers"

# Token ids with the special ones, and of each label its logit and its score.
Scored = tuple[list[int], list[float], list[float]]


class PairScorer(Protocol):
    """Who scores pairs, and where it cuts them, in tokens."""

    name: str
    length: int

    def score(self, first: str, second: str, batch: Any) -> Scored:
        """Return ids, logits and scores of a pair; `batch` is what transformers' tokenizer makes of it."""


def find_pair_scorer(model: Any, config: Mapping[str, Any], folder: Path | None, longest: int) -> PairScorer:
    """Return what scores pairs for a cross-encoder.

    Args:
        model: The torch model.
        config: The content of its config.json.
        folder: The checkpoint; None where there is none.
        longest: Where transformers cuts a pair, in tokens.
    """
    if folder is not None and importlib.util.find_spec(_LIBRARY):
        try:
            return _LibraryScorer(model, folder, longest)
        except Exception as err:  # of the library, and of what it imports
            log.info("sentence-transformers does not load %s (%s): torch scores as config.json declares", folder, err)
    return _TorchScorer(model, config, longest)


class _LibraryScorer:
    """CrossEncoder with the torch model that is exported in the place of its own."""

    def __init__(self, model: Any, folder: Path, longest: int) -> None:
        from sentence_transformers import CrossEncoder

        self.name = f"sentence-transformers {importlib.metadata.version('sentence-transformers')}"
        # Without layers: its own model is not needed, and its weights would be in memory twice.
        self._library = CrossEncoder(
            str(folder), device="cpu", local_files_only=True, config_kwargs={"num_hidden_layers": 0, "n_layers": 0}
        )
        transformer = self._library[0]
        transformer.model = model
        self.length = shortest_length(self._library.max_seq_length, longest)
        # It takes a declared length beyond the model's positions at its word, and fails at the first long pair.
        self._library.max_seq_length = self.length
        self._seen: list[dict[str, Any]] = []
        transformer.register_forward_pre_hook(lambda _, arguments: self._seen.append(dict(arguments[0])))

    def score(self, first: str, second: str, batch: Any) -> Scored:
        del batch  # the library tokenizes
        self._seen.clear()
        logits = self._predict(first, second, torch.nn.Identity())
        scores = self._predict(first, second, None)
        features = self._seen[0]
        ids = features["input_ids"][0][features["attention_mask"][0] != 0].tolist()
        return ids, logits, scores

    def _predict(self, first: str, second: str, activation: Any) -> list[float]:
        answer = self._library.predict([(first, second)], activation_fn=activation, show_progress_bar=False)[0]
        values: list[float] = answer.reshape(-1).tolist()
        return values


class _TorchScorer:
    """The torch model, and the activation that config.json names; by the number of labels where it names none."""

    def __init__(self, model: Any, config: Mapping[str, Any], longest: int) -> None:
        self.length = longest
        self.name = f"torch {torch.__version__}"
        self._model = model
        nested = config.get("sentence_transformers") or {}
        place = nested.get("activation_fn") or config.get("sbert_ce_default_activation_function") or ""
        if not str(place).startswith("torch."):
            place = "Sigmoid" if int(model.config.num_labels) == 1 else "Identity"
        self._activation = getattr(torch.nn, str(place).rsplit(".", 1)[-1])()

    def score(self, first: str, second: str, batch: Any) -> Scored:
        del first, second
        accepted = {"input_ids", "attention_mask"}
        if getattr(self._model.config, "type_vocab_size", 1) > 1:
            accepted.add("token_type_ids")
        inputs = {name: torch.tensor([values]) for name, values in batch.items() if name in accepted}
        logits = self._model(**inputs).logits.float()
        return list(batch["input_ids"]), logits[0].tolist(), self._activation(logits)[0].tolist()
