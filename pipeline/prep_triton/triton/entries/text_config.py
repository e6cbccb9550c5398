"""config.pbtxt of the entries that turn text into answers."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from prep_triton.artifact import EmbeddingRecord, OnnxModel, RepositoryEntry
from prep_triton.errors import RepositoryError
from prep_triton.layout import LABEL_FILE_NAME
from prep_triton.spec import MOST_ROWS, TextSpec
from prep_triton.tasks import PROMPT_NAME, SCORES, TASKS, TextTensor
from prep_triton.triton.entries.names import TextNames
from prep_triton.triton.server.batch_axis import has_batch_axis

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

_WINDOW = TextTensor("WINDOW", "INT32", (5,))  # see `encode.encoder`
_INPUT_IDS = "input_ids"
_ANY = -1


@dataclass(frozen=True)
class _Tensor:
    name: str
    data_type: int
    dims: tuple[int, ...]
    optional: bool = False


class TextConfigs:
    """Builds the configurations from the model entry's own, so that names, types and batches agree.

    Args:
        entry: The model entry.
        model: Its configuration.
        spec: The choices.

    Raises:
        RepositoryError: The configuration is of no model that text can be put before.
    """

    def __init__(self, entry: RepositoryEntry, model: "ModelConfig", spec: TextSpec) -> None:
        from tritonclient.grpc import model_config_pb2

        self._proto = model_config_pb2
        self.entry, self.model, self.spec = entry, model, spec
        self.names = TextNames.of(entry)
        self.labels = entry.onnx.labels if entry.onnx else ()
        self._check_model()
        self._task = TASKS[entry.task]
        self._embedding = entry.onnx.embedding if entry.onnx else EmbeddingRecord()
        # One text may stand beside many others: of a batch the server would want as many of each.
        self._max_batch_size = 0 if self._task.takes_pairs else int(model.max_batch_size)
        self._details = self._from_table((_WINDOW, *self._task.details)) if self._task.has_postprocessor else []

    def tokenizer(self) -> "ModelConfig":
        """Text in; the model's inputs and the post-processor's details out. Batches across requests."""
        config = self._python_config(self.names.tokenizer, instances=self.spec.instance_count)
        _add(config.input, self._texts())
        _add(config.output, [*self._model_tensors(self.model.input), *self._details])
        parameters = {
            "length_buckets": ",".join(str(bucket) for bucket in self.entry.length_buckets),
            "long_input": self.spec.long_input,
            "stride": str(self.spec.stride),
            "max_characters": str(self.spec.max_characters),
        }
        if self.entry.spec.get("serving", {}).get("padding") == "longest":
            # The shortest row that every plan takes; a graph takes one token.
            parameters |= {"padding": "longest", "min_length": str(self.entry.spec.get("min_sequence", 1))}
        if not self._max_batch_size:
            parameters["max_rows"] = str(self.model.max_batch_size or MOST_ROWS)
        if self._task.takes_pairs and self.entry.onnx:
            parameters["truncation"] = self.entry.onnx.truncation
        self._set_parameters(config, parameters | self._prompts())
        return config

    def _prompts(self) -> dict[str, str]:
        """Return the tokenizer's parameters of what is put before texts."""
        embedding, parameters = self._embedding, {}
        if embedding.prompt:
            parameters["prompt"] = embedding.prompt
        if embedding.prompts:
            parameters["prompts"] = json.dumps(dict(embedding.prompts), ensure_ascii=False)
        if not embedding.includes_prompt:
            parameters["include_prompt"] = "false"
        return parameters

    def postprocessor(self) -> "ModelConfig":
        """The model's outputs and the tokenizer's details in; answers out."""
        config = self._python_config(self.names.postprocessor, instances=self.spec.instance_count)
        _add(config.input, [*self._model_tensors(self.model.output), *self._ids_for_masks(), *self._details])
        _add(config.output, self._answers())
        chosen = {key: str(getattr(self.spec, key)).lower() for key in self._task.options}
        self._set_parameters(config, {**chosen, **self._declared()})
        return config

    def _declared(self) -> dict[str, str]:
        """Return what the checkpoint declares of its answers, for the post-processor."""
        model = self.entry.onnx
        if model is None:
            return {}
        if self._task.answers_tokens:
            return {"mask_token": model.mask_token}
        if self._task.pools_outside:
            normalize = is_normalized(model, self.spec)
            return {"pooling": ",".join(model.embedding.pooling), "normalize": str(normalize).lower()}
        return {"activation": model.activation} if self._task.scores_texts else {}

    def ensemble(self) -> "ModelConfig":
        """The steps. A batch of N texts may become M >= N rows before a post-processor: the scheduler lets it."""
        config = self._proto.ModelConfig(name=self.names.ensemble, platform="ensemble")
        config.max_batch_size = self._max_batch_size
        _add(config.input, self._texts())
        _add(config.output, self._answers())
        steps = [self.tokenizer(), self.model, *([self.postprocessor()] if self._task.has_postprocessor else [])]
        if self._answers_scores:
            config.output[0].label_filename = LABEL_FILE_NAME
        for step in steps:
            called = config.ensemble_scheduling.step.add(model_name=step.name, model_version=-1)
            for tensor in step.input:
                called.input_map[tensor.name] = tensor.name
            for tensor in step.output:
                called.output_map[tensor.name] = tensor.name
        if not self._task.has_postprocessor:  # the model's own answer, under the name that clients read
            for tensor, answer in zip(self.model.output, self._task.answers, strict=True):
                called.output_map[tensor.name] = answer.name
        return config

    def _check_model(self) -> None:
        if not has_batch_axis(self.model):
            raise RepositoryError(
                f"{self.entry.name} has max_batch_size {self.model.max_batch_size} and takes one row at a time, and "
                "text needs a batch axis",
                hint="assemble the entry again with `prep assemble`",
            )
        count = self.model.output[0].dims[-1]
        if TASKS[self.entry.task].has_labels and len(self.labels) != count:
            raise RepositoryError(
                f"{self.entry.name} answers {count} logits, and its manifest has {len(self.labels)} labels",
                hint="export the model again with `prep export`, then assemble it",
            )

    def _python_config(self, name: str, *, instances: int) -> "ModelConfig":
        config = self._proto.ModelConfig(name=name, backend="python", max_batch_size=self._max_batch_size)
        config.instance_group.add(count=instances, kind="KIND_CPU")
        # Outputs as wide as the vocabulary are not batched: all of them would lie in shared memory together.
        if self._max_batch_size > 1 and not self._task.answers_tokens:
            # Whatever waits is answered together; nothing waits for it.
            config.dynamic_batching.SetInParent()
        return config

    def _set_parameters(self, config: "ModelConfig", choices: Mapping[str, str]) -> None:
        for name, value in {"task": self.entry.task, **choices}.items():
            config.parameters[name].string_value = value

    def _texts(self) -> list[_Tensor]:
        texts = self._from_table(TextTensor(name, "STRING") for name in self._task.text_inputs)
        if not self._embedding.prompts:
            return texts
        return [*texts, replace(texts[0], name=PROMPT_NAME, optional=True)]

    def _answers(self) -> list[_Tensor]:
        return self._from_table((SCORES,) if self._answers_scores else self._task.answers)

    @property
    def _answers_scores(self) -> bool:
        return "answers" in self._task.options and self.spec.answers == "scores"

    def _ids_for_masks(self) -> list[_Tensor]:
        if not self._task.answers_tokens:
            return []
        return [tensor for tensor in self._model_tensors(self.model.input) if tensor.name == _INPUT_IDS]

    def _model_tensors(self, repeated: Iterable[Any]) -> list[_Tensor]:
        """Return the model's tensors as the entries beside it declare them: with the batch that it has before them."""
        batch = () if self._max_batch_size or not self.model.max_batch_size else (_ANY,)
        return [_Tensor(tensor.name, tensor.data_type, (*batch, *tensor.dims)) for tensor in repeated]

    def _from_table(self, tensors: Iterable[TextTensor]) -> list[_Tensor]:
        joined = len(self._embedding.pooling) if self._task.pools_outside else 1
        width = self.model.output[0].dims[-1] * joined
        sizes = {"width": width, "best": min(self.spec.top_k, len(self.labels))}
        types = self._proto.DataType
        # Without a max_batch_size the batch is an axis like any other: what a client sends is the same.
        batch = () if self._max_batch_size else (_ANY,)
        return [
            _Tensor(
                tensor.name,
                types.Value(f"TYPE_{tensor.dtype}"),
                (*batch, *(size if isinstance(size, int) else sizes[size] for size in tensor.dims)),
            )
            for tensor in tensors
        ]


def is_normalized(model: OnnxModel, spec: TextSpec) -> bool:
    """Whether embeddings are scaled to length 1: as asked for, else as the checkpoint declares."""
    return model.embedding.is_normalized if spec.normalize is None else spec.normalize


def _add(repeated: Any, tensors: Sequence[_Tensor]) -> None:
    for tensor in tensors:
        added = repeated.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        if tensor.optional:  # an output has no such field
            added.optional = True
