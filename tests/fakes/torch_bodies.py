"""Bodies of transformers models, exported by PyTorch."""

import warnings
from pathlib import Path
from typing import Any


def export_body(module: Any, path: Path, *, inputs: int) -> Path:
    """Export a transformers body as the export stage does: eager attention, an additive mask of -1e4."""
    import torch

    class Body(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = module

        def forward(self, input_ids, attention_mask, token_type_ids=None):
            mask = (1.0 - attention_mask[:, None, None, :].to(torch.float32)) * -1e4
            types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
            return self.body(input_ids=input_ids, attention_mask=mask, **types).last_hidden_state

    module.set_attn_implementation("eager")
    names = ["input_ids", "attention_mask", "token_type_ids"][:inputs]
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own internals
        torch.onnx.export(
            Body().eval(),
            tuple(torch.ones(2, 8, dtype=torch.int64) for _ in names),
            path,
            dynamo=True,
            opset_version=20,
            input_names=names,
            output_names=["last_hidden_state"],
            dynamic_shapes=[axes] * inputs,
            external_data=False,
            verbose=False,
        )
    return path
