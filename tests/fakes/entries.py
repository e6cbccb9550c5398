"""Records of repository entries, without files."""

from prep_triton.artifact import RepositoryEntry


def make_entry(name: str = "e", **fields) -> RepositoryEntry:
    """Return the record of an ONNX Runtime entry, with other values for some of its fields."""
    defaults = {
        "runtime": "onnxruntime",
        "precision": "fp32",
        "task": "fill-mask",
        "architecture": "bert",
        "weights": "random",
        "max_batch_size": 8,
        "tolerance": 0.999,
    }
    return RepositoryEntry(name=name, **{**defaults, **fields})
