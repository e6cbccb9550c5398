"""ModernBERT's tables and masks against transformers' own, and what of its config.json is refused."""

from typing import Any

import pytest
import torch
from prep_triton.errors import SourceError
from prep_triton.export.checkpoint import build_config
from prep_triton.export.graph import MASK_BIAS
from prep_triton.export.modernbert import FULL, SLIDING, add_rotary_tables, make_masks
from prep_triton.export.source import Source
from transformers import ModernBertConfig, ModernBertModel
from transformers.masking_utils import create_bidirectional_mask, create_bidirectional_sliding_window_mask

KEYS = {
    "vocab_size": 8,
    "hidden_size": 64,
    "intermediate_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 1,
    "pad_token_id": 0,
    "local_attention": 6,
}


@pytest.fixture(scope="module")
def body():
    config = ModernBertConfig(**KEYS)
    config._attn_implementation = "eager"
    return ModernBertModel(config)


def test_rotations_are_those_of_exact_angles_at_the_last_of_8192_positions_also_in_fp16(body):
    add_rotary_tables(body, 8192)
    places, exponents = torch.arange(8192, dtype=torch.float64), torch.arange(0, 64, 2, dtype=torch.float64) / 64
    for kind, theta in ((FULL, 160_000.0), (SLIDING, 10_000.0)):
        angles = (places[:, None] * theta**-exponents).repeat(1, 2)
        for name, exact in (("cos", angles.cos()), ("sin", angles.sin())):
            table = body.rotary_emb.get_buffer(f"{kind}_{name}")
            assert table.shape == (8192, 64)
            assert (table - exact).abs().max() < 1e-3
            assert (table.half() - exact).abs().max() < 2e-3
        rounded = (places.half()[:, None] * (theta**-exponents).half()).double()  # what angles in FP16 would be
        assert (rounded - angles[:, :32]).abs().max() > 1.0


def test_masks_leave_what_the_librarys_masks_leave(body):
    mask = torch.tensor([[1] * 12, [1] * 5 + [0] * 7, [0] * 2 + [2] * 10])
    masks = make_masks(mask, body.config, MASK_BIAS)
    hidden = torch.zeros(3, 12, 64)
    for kind, build in ((FULL, create_bidirectional_mask), (SLIDING, create_bidirectional_sliding_window_mask)):
        library = build(config=body.config, inputs_embeds=hidden, attention_mask=mask)
        own = masks[kind].expand(3, 1, 12, 12)
        attends = (mask != 0)[:, None, :, None]  # of what padding sees nobody asks
        assert torch.equal((own == 0) & attends, (library == 0) & attends)
        assert own.min() >= 2 * MASK_BIAS


def build(**keys: Any) -> Any:
    config = {"model_type": "modernbert", **KEYS, **keys}
    source = Source(
        name="tiny", label="tiny", architecture="modernbert", task="feature-extraction", weights="random",
        config={key: value for key, value in config.items() if value is not None}, digest="",
    )  # fmt: skip
    return build_config(source)


def test_both_forms_of_a_configuration_are_one():
    old = build(global_rope_theta=5e4, local_rope_theta=7e3, global_attn_every_n_layers=2, reference_compile=True)
    new = build(
        layer_types=[FULL, SLIDING],
        rope_parameters={
            FULL: {"rope_type": "default", "rope_theta": 5e4},
            SLIDING: {"rope_type": "default", "rope_theta": 7e3},
        },
    )
    assert (old.layer_types, old.rope_parameters) == (new.layer_types, new.rope_parameters)
    assert old.sliding_window == new.sliding_window == 3


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"layer_types": [FULL, "chunked_attention"]},
            "has layer_types .*chunked_attention.*, not full_attention or",
        ),
        ({"head_dim": 32}, "has head_dim 32, and its heads are 64 wide"),
        (
            {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
            "'dynamic'.* supported are the types default, linear",
        ),
        ({"classifier_activation": "gelo"}, "has classifier_activation 'gelo', which transformers does not know"),
        ({"hidden_activation": "gelo"}, "has hidden_activation 'gelo', which transformers does not know"),
        ({"classifier_pooling": "max"}, "cannot be used: .*'cls', 'mean'"),
    ],
)
def test_what_no_table_holds_or_the_library_fails_with_is_refused(keys, message):
    with pytest.raises(SourceError, match=message) as caught:
        build(**keys)
    assert caught.value.hint
