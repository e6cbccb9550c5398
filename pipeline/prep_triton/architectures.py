"""What an architecture is: the one table of the encoders that prep exports.

Another one is one row of `ARCHITECTURES`, one word of `Architecture`, and what docs/extending.md lists beside them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, get_args

# transformers' `model_type`.
Architecture = Literal["bert", "distilbert", "roberta", "xlm-roberta", "camembert", "mpnet", "electra", "modernbert"]
ARCHITECTURE_NAMES: tuple[Architecture, ...] = get_args(Architecture)


@dataclass(frozen=True)
class ArchitectureFacts:
    """One architecture, in the words of its transformers classes.

    Args:
        title: Its name in a sentence.
        class_prefix: Its classes are ``<class_prefix>Config``, ``<class_prefix>Model``, ``<class_prefix>For<Task>``.
        layers: The dotted path of the list of layers in the body; the last part is the attribute.
        head_modules: What may stand beside the body, for one task or another: the beginnings of the weights' names.
        decoder: Of these what predicts tokens, and is the transposed embedding where config.json says nothing else.
        layer_key: How config.json calls the number of layers.
        activation_key: How config.json calls the activation of the feed-forward layers.
        has_token_types: Whether the classes take ``token_type_ids``; a `type_vocab_size` of 1 leaves no choice of them.
        positions_follow_padding: Whether the first token's position is the padding token's id + 1, and not 0.
        padding_id: The padding token that positions follow, where its classes do not read `pad_token_id`.
        makes_masks: Whether its layers do not all read one additive mask [batch, 1, 1, sequence].
        linears_in_layer: How many products with weights a layer has; three of them stand behind its attention.
        body_arguments: What the body's class is made with, beside the configuration.
        least_sizes: Keys of config.json whose number its classes read as if it were this one.
        strange_heads: What its classes answer whose names are those of a task, by what follows `class_prefix`.
    """

    title: str
    class_prefix: str
    layers: str
    head_modules: tuple[str, ...]
    decoder: str
    layer_key: str = "num_hidden_layers"
    activation_key: str = "hidden_act"
    has_token_types: bool = True
    positions_follow_padding: bool = False
    padding_id: int | None = None
    makes_masks: bool = False
    linears_in_layer: int = 6
    body_arguments: Mapping[str, Any] = field(default_factory=dict)
    least_sizes: Mapping[str, int] = field(default_factory=dict)
    strange_heads: Mapping[str, str] = field(default_factory=dict)

    @property
    def layers_parent(self) -> str:
        """The dotted path of the module that has the list of layers; empty for the body itself."""
        return self.layers.rpartition(".")[0]

    @property
    def layers_attribute(self) -> str:
        """The name of the list of layers there."""
        return self.layers.rpartition(".")[2]

    def find_longest_input(self, config: Any) -> int:
        """Return how many tokens a text may have, special ones included.

        Args:
            config: The transformers configuration object.
        """
        skipped = self.find_padding_id(config) + 1 if self.positions_follow_padding else 0
        return int(config.max_position_embeddings) - skipped

    def find_padding_id(self, config: Any) -> int:
        """Return the id that positions follow, of a transformers configuration object."""
        return int(config.pad_token_id or 0) if self.padding_id is None else self.padding_id


# The pooler answers nothing in last_hidden_state, and many checkpoints do not have one.
_WITHOUT_POOLER = MappingProxyType({"add_pooling_layer": False})


def _describe_roberta(title: str, class_prefix: str) -> ArchitectureFacts:
    """Describe one of RoBERTa's line: BERT's layers with other positions, heads without a pooler."""
    return ArchitectureFacts(
        title=title,
        class_prefix=class_prefix,
        layers="encoder.layer",
        head_modules=("pooler.", "lm_head.", "classifier.", "qa_outputs."),
        decoder="lm_head.decoder.",
        positions_follow_padding=True,
        body_arguments=_WITHOUT_POOLER,
    )


ARCHITECTURES: Mapping[Architecture, ArchitectureFacts] = MappingProxyType(
    {
        "bert": ArchitectureFacts(
            title="BERT",
            class_prefix="Bert",
            layers="encoder.layer",
            head_modules=("pooler.", "cls.", "classifier.", "qa_outputs."),
            decoder="cls.predictions.decoder.",
            body_arguments=_WITHOUT_POOLER,
        ),
        "distilbert": ArchitectureFacts(
            title="DistilBERT",
            class_prefix="DistilBert",
            layers="transformer.layer",
            head_modules=(
                *("pre_classifier.", "classifier.", "qa_outputs."),
                *("vocab_transform.", "vocab_layer_norm.", "vocab_projector."),
            ),
            decoder="vocab_projector.",
            layer_key="n_layers",
            activation_key="activation",
            has_token_types=False,
        ),
        "roberta": _describe_roberta("RoBERTa", "Roberta"),
        "xlm-roberta": _describe_roberta("XLM-RoBERTa", "XLMRoberta"),
        "camembert": _describe_roberta("CamemBERT", "Camembert"),
        "mpnet": ArchitectureFacts(
            title="MPNet",
            class_prefix="MPNet",
            layers="encoder.layer",
            head_modules=("pooler.", "lm_head.", "classifier.", "qa_outputs."),
            decoder="lm_head.decoder.",
            has_token_types=False,
            positions_follow_padding=True,
            padding_id=1,
            least_sizes={"relative_attention_num_buckets": 32},
            body_arguments=_WITHOUT_POOLER,
        ),
        "electra": ArchitectureFacts(
            title="ELECTRA",
            class_prefix="Electra",
            layers="encoder.layer",
            head_modules=(
                *("generator_predictions.", "generator_lm_head.", "discriminator_predictions."),
                *("classifier.", "qa_outputs.", "sequence_summary."),
            ),
            decoder="generator_lm_head.",
            strange_heads={"ForPreTraining": "a discriminator, which says of every token whether another replaced it"},
        ),
        "modernbert": ArchitectureFacts(
            title="ModernBERT",
            class_prefix="ModernBert",
            layers="layers",
            head_modules=("head.", "decoder.", "classifier."),
            decoder="decoder.",
            activation_key="hidden_activation",
            has_token_types=False,
            makes_masks=True,
            linears_in_layer=4,
        ),
    }
)


def list_titles() -> str:
    """Return the names of all architectures, as a choice of one."""
    *first, last = (facts.title for facts in ARCHITECTURES.values())
    return f"{', '.join(first)} or {last}"


def find_architecture(class_name: str) -> Architecture | None:
    """Return the architecture that a transformers class belongs to, by its name."""
    fitting = [
        name
        for name, facts in ARCHITECTURES.items()
        if class_name.startswith((f"{facts.class_prefix}For", f"{facts.class_prefix}Model"))
    ]
    return fitting[0] if fitting else None
