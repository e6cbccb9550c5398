"""Records: what exists, each beside its files and described by a `manifest.json`.

A stage reads specs and these records, never another stage's innards. A record is frozen; `folder`
is where its files lie on this machine and is not written into the manifest.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from prep_triton.architectures import Architecture
from prep_triton.gpus import AMPERE_PLUS, is_runnable
from prep_triton.layout import CONFIG_NAME, ENGINE_NAME, GRAPH_NAME, REFERENCE_NAME, is_graph_file
from prep_triton.server_arguments import ServerArgument
from prep_triton.spec import GateSpec, OptimizationProfile, Precision, Runtime, Tier
from prep_triton.tasks import MASK_TOKEN, SPEARMAN, Task

MANIFEST_SCHEMA = 1

# As it was measured: rounding moves it past 1.
Cosine = Annotated[float, Field(ge=-1 - 1e-6, le=1 + 1e-6)]
# The smallest cosine that is let pass: what lets everything pass is refused.
Tolerance = Annotated[float, Field(gt=0.0, le=1.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
# A correlation may be negative.
Points = Annotated[float, Field(ge=-100.0, le=100.0)]
# What a server's configuration, or an array, can count.
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
Length = Annotated[int, Field(ge=1, le=2**31 - 1)]


class Record(BaseModel):
    """Base of everything that is written into a manifest, or printed as a document.

    Its numbers are finite: JSON has no others, and a comparison with NaN lets everything pass.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, json_schema_serialization_defaults_required=True
    )


class TensorSpec(Record):
    """One input or output of a graph.

    `dtype` is Triton's word without its ``TYPE_`` prefix (INT64, FP32, FP16). A dimension is a fixed
    size or the name of a dynamic axis (``batch``, ``sequence``).
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class FileRecord(Record):
    """Size in bytes and lower-case hex SHA-256 of one file of an artifact."""

    size: Annotated[int, Field(ge=0)]
    sha256: str


class Artifact(Record):
    """What every artifact has.

    `key` is the digest of the spec fields that matter, the input artifacts' keys and the versions of
    the tools: same key, same artifact. `noun` is what a message calls it; `always` are files that each one has.
    """

    noun: ClassVar[str] = "artifact"
    always: ClassVar[tuple[str, ...]] = ()

    name: str
    key: str = ""
    folder: Path = Field(default=Path(), exclude=True)
    files: dict[str, FileRecord] = {}
    spec: dict[str, Any] = {}
    inputs: dict[str, str] = {}
    tools: dict[str, str] = {}
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))

    def path(self, relative: str) -> Path:
        """Return the path of one of the artifact's files."""
        return self.folder / relative


class SourceCopy(Artifact):
    """A model as it was fetched from elsewhere: the files of a checkpoint, or an ONNX graph and what lies beside it.

    `uri` is where it came from.
    """

    noun = "copy of a model"

    uri: str


class ParityRecord(Record):
    """How far an ONNX graph lies from PyTorch FP32, over every shape that was checked."""

    shapes: tuple[tuple[int, int], ...]
    max_abs_error: Annotated[float, Field(ge=0.0)]
    mean_cosine: Cosine


class FidelityRecord(Record):
    """How far a converted graph lies from FP32 on real text: the cosine of each row's answer.

    An answer is the mean over the row's tokens for feature-extraction, else its unpadded output values. Of a classifier
    `changed_labels` counts the reference rows' labels that are others than PyTorch's although its choice is clear; None
    where nothing is chosen, or was compared.
    """

    rows: Count
    mean_cosine: Cosine
    min_cosine: Cosine
    changed_labels: int | None = None
    runtime: str


class AccuracyRecord(Record):
    """A task's metric before and after conversion, in points (0..100, of a correlation -100..100).

    `rows` counts the labelled rows. `others` holds (reference, converted) of metrics that no budget is set on.
    """

    metric: str
    rows: Count
    reference: Points
    converted: Points
    others: dict[str, tuple[float, float]] = {}

    @model_validator(mode="after")
    def check_sign(self) -> Self:
        """Only a correlation may be negative."""
        for name in ("reference", "converted"):
            if getattr(self, name) < 0 and self.metric != SPEARMAN:
                raise ValueError(f"{name} is {getattr(self, name):g}, and points of {self.metric} are 0 or more")
        return self


class LatencyRecord(Record):
    """Milliseconds of one request of a (batch, sequence) `shape`: the median of `runs`, and where 8 of 10 lie.

    `where` names the runtime and the machine: figures of different machines, or moments, are not comparable.
    """

    p10_ms: Annotated[float, Field(ge=0.0)]
    median_ms: Annotated[float, Field(ge=0.0)]
    p90_ms: Annotated[float, Field(ge=0.0)]
    runs: Annotated[int, Field(ge=1)]
    shape: tuple[int, int]
    where: str


class QuantizationRecord(Record):
    """How a graph was quantised, and for which runtime.

    `linear_flops_share` is the share of the encoder's linear-layer GEMM FLOPs in INT8, 0..1. `damage`
    maps a layer to the relative error that quantising it alone costs: half the squared distance of the answers over
    their squared length, which is the cosine distance of answers of one length. ``dynamic W8A8`` is read, and no
    longer made: releases that were published with it are served, and rolled back to.
    """

    scheme: Literal["static symmetric W8A8", "dynamic W8A8"]
    runtime: Runtime
    calibration: dict[str, Any] = {}
    smoothing_alpha: Share | None = None
    kept_out: tuple[str, ...] = ()
    linear_flops_share: Share
    damage: dict[str, float] = {}


class OverflowRecord(Record):
    """What of a graph stays in FP32, since FP16 holds no more than 65504.

    `kept_out` names the layers, in the order of the graph; `largest` maps each to the largest magnitude that was seen
    in it. Their matrix products are scaled by a power of two and stay in FP16.
    """

    kept_out: tuple[str, ...]
    largest: dict[str, float]

    def in_graph_order(self) -> dict[str, float]:
        """Return `largest` in the order of `kept_out`, which JSON does not keep."""
        return {name: self.largest[name] for name in self.kept_out}


# What makes a score of a classifier's logit: over all labels, of each label by itself, or nothing.
Activation = Literal["softmax", "sigmoid", "none"]


# What makes one vector of token vectors, as sentence-transformers' Pooling calls them.
Pooling = Literal["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]


class EmbeddingRecord(Record):
    """How a checkpoint makes one vector of a text, as its modules.json declares; else the normalized mean.

    `pooling` names what is joined, in this order. `prompt` is put before a text that names none of `prompts`, which are
    empty where the checkpoint declares none; `includes_prompt`: its tokens count in the pooling. `is_normalized`: what
    is answered has the length 1. `dense` are the widths that Dense modules make of the joined vector, and `dimension`
    how many of the first values are kept; both are computed by the graph, and belong to sentence-embedding.
    """

    pooling: tuple[Pooling, ...] = ("mean",)
    is_normalized: bool = True
    prompt: str = ""
    prompts: Mapping[str, str] = {}
    includes_prompt: bool = True
    dense: tuple[Length, ...] = ()
    dimension: Length | None = None

    def width(self, hidden_size: int) -> int:
        """Return how many values the graph of a sentence-embedding answers, of token vectors of `hidden_size`."""
        width = self.dense[-1] if self.dense else hidden_size * len(self.pooling)
        return min(width, self.dimension or width)

    def find_prompt(self, *names: str) -> str:
        """Return the prompt of the first of these names that is declared, else what is put before every text."""
        return next((self.prompts[name] for name in names if name in self.prompts), self.prompt)


# Who answered what `reference.npz` holds: PyTorch, or the graph itself where it came without its checkpoint's weights.
ReferenceOrigin = Literal["pytorch", "onnxruntime"]


# Which of two texts a tokenizer cuts where both together are too long.
Truncation = Literal["longest_first", "only_first", "only_second"]


class OnnxModel(Artifact):
    """An ONNX graph of an encoder: ``model.onnx``, ``reference.npz``, perhaps ``tokenizer.json`` and more.

    Weights that ``model.onnx`` cannot hold (2 GiB) lie in ``model.onnx.data`` beside it.

    ``reference.npz`` holds PyTorch FP32 answers to fixed inputs: one array for each graph input
    (``input/<name>``, shape [rows, sequence]), one for each output (``output/<name>``), and ``text``
    (one string a row; empty strings where there is no tokenizer). ``library.json`` holds the checkpoint's own library's
    answers to texts; see `prep_triton.library_answers`.

    `labels` name the logits of a classifier, and `activation` makes scores of them as transformers' pipeline does with
    the checkpoint's configuration, or sentence-transformers with that of a cross-encoder. `takes_pairs`: a
    cross-encoder, which scores two texts together, whatever it was exported for; `truncation` says which of two texts
    its tokenizer cuts. `mask_token` is the tokenizer's own, for fill-mask. `declared_length` is where the checkpoint's
    tokenizer cuts a text, special tokens included: at most `max_sequence_length`, which is what the graph takes;
    `cuts_beginning`: it drops the beginning of a long text, and not its end. `embedding` belongs to
    feature-extraction and sentence-embedding. `gate` is what a converted graph had to reach.

    `reference` is ``onnxruntime`` of a graph that was exported elsewhere and came without its checkpoint's weights:
    its own answers then stand where PyTorch's would, and `parity` is None.
    """

    noun = "model"
    always = (GRAPH_NAME, REFERENCE_NAME)

    architecture: Architecture
    task: Task
    weights: Literal["hub", "random"]
    source: str
    precision: Precision
    opset: int
    model_inputs: tuple[TensorSpec, ...]
    model_outputs: tuple[TensorSpec, ...]
    max_sequence_length: Length
    vocab_size: Length
    parameters: Annotated[int, Field(ge=0)]
    labels: tuple[str, ...] = ()
    activation: Activation = "softmax"
    takes_pairs: bool = False
    truncation: Truncation = "longest_first"
    mask_token: str = MASK_TOKEN
    declared_length: Length | None = None
    cuts_beginning: bool = False
    embedding: EmbeddingRecord = EmbeddingRecord()
    reference: ReferenceOrigin = "pytorch"
    parity: ParityRecord | None = None
    fidelity: FidelityRecord | None = None
    accuracy: AccuracyRecord | None = None
    gate: GateSpec | None = None
    quantization: QuantizationRecord | None = None
    overflow: OverflowRecord | None = None

    @property
    def graph_bytes(self) -> int:
        """The size of the graph with its weights, in one file or two."""
        return sum(file.size for name, file in self.files.items() if is_graph_file(name))

    @property
    def usual_length(self) -> int:
        """Where a text is cut unless somebody asks otherwise, in tokens."""
        return self.declared_length or self.max_sequence_length


class PrecisionProof(Record):
    """What was found inside an engine, and how it was found.

    `method` is ``engine inspector`` where the builder's inspector names the types, else
    ``strongly typed network``: the types of the network that the engine was compiled from.
    `gemm_flops_share` maps a precision to its share of the GEMM FLOPs, 0..1, at `weighed_at` (batch,
    sequence); `linear_flops_share` does so for the encoder's products with weights alone. `layers` maps a
    precision to a count. `fused_attention` is None where the builder does not tell; `weights_bytes` are
    the constants of the network, or of the engine where it can tell.
    """

    method: str
    gemm_flops_share: dict[str, Share]
    layers: dict[str, int]
    linear_flops_share: dict[str, Share] = {}
    weighed_at: tuple[int, int] | None = None
    fused_attention: bool | None = None
    weights_bytes: int | None = None


class Engine(Artifact):
    """A serialized engine for one GPU architecture: ``model.engine``.

    `builder` decides what may load it: a ``tensorrt`` engine is a plan for Triton's TensorRT backend;
    a ``tensorrt-rtx`` engine is not, and no Triton backend loads it.
    """

    noun = "engine"
    always = (ENGINE_NAME,)
    builder: Literal["tensorrt", "tensorrt-rtx"]
    builder_version: str
    precision: Precision
    gpu: str
    compute_capability: str
    profiles: tuple[OptimizationProfile, ...]
    model_inputs: tuple[TensorSpec, ...]
    model_outputs: tuple[TensorSpec, ...]
    proof: PrecisionProof
    overflow: OverflowRecord | None = None
    build_seconds: Annotated[float, Field(ge=0.0)]

    def runs_on(self, compute_capability: str) -> bool:
        """Whether a GPU of a compute capability can run it; see `prep_triton.gpus.is_runnable`."""
        is_hardware_compatible = self.spec.get("hardware_compatible") == AMPERE_PLUS
        return is_runnable(
            compute_capability, built_for=self.compute_capability, is_hardware_compatible=is_hardware_compatible
        )


Backend = Literal["tensorrt", "onnxruntime", "openvino", "python", "ensemble"]
EntryKind = Literal["model", "tokenizer", "postprocessor", "ensemble"]


class VendoredRecord(Record):
    """A Python package inside an entry's version folder, for a server image that does not have it.

    `python` is the oldest Python it runs on (``3.10``; an abi3 wheel runs on later ones too), `platform` what
    it was built for (``linux/amd64``).
    """

    package: str
    version: str
    python: str
    platform: str


class RepositoryEntry(Artifact):
    """One model directory of a Triton repository.

    Its files: ``config.pbtxt``, ``<version>/model.onnx`` (and ``model.onnx.data``), plans or ``model.py``,
    ``reference.npz`` and perhaps ``tokenizer.json``. `tolerance` is the smallest cosine to PyTorch FP32, of any one
    answer, that `prep verify` lets pass: the `min_row_cosine` of the gate of what it serves. `composes` names the
    entries that an ensemble calls, in order; `serves` the model entry that a tokenizer, a post-processor or an ensemble
    was made for. `onnx` and `engines` are the manifests of what it serves. `server_arguments` are what the server must
    be started with for the entry to be served as it was asked for.
    """

    noun = "repository entry"
    always = (CONFIG_NAME,)
    kind: EntryKind = "model"
    runtime: Backend
    precision: Precision
    task: Task
    architecture: str
    weights: str
    max_batch_size: Count
    compute_capabilities: tuple[str, ...] = ()
    tolerance: Tolerance
    tier: Tier | None = None
    length_buckets: tuple[Length, ...] = ()
    composes: tuple[str, ...] = ()
    serves: str | None = None
    onnx: OnnxModel | None = None
    engines: tuple[Engine, ...] = ()
    vendored: VendoredRecord | None = None
    server_arguments: tuple[ServerArgument, ...] = ()
