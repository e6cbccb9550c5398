"""`prep lint`: a model repository judged offline, without a server, a GPU, torch or TensorRT.

`onnx` is imported where a graph is read, because nothing else tells a truncated graph from a whole one, or the
names, types and shapes that the backend will compare with the configuration; weights beside a graph are not read.
The server's own rules are those of triton-inference-server/core (``src/model_config_utils.cc``,
``src/ensemble_scheduler/ensemble_utils.cc``, ``src/backend_model_instance.cc``) and of its ONNX Runtime and
TensorRT backends. A repository that prep did not write is judged too; what needs a manifest is then left out,
and said so.
"""

from prep_triton.triton.lint.finding import CODES, Finding, LintReport, Severity, check_lint
from prep_triton.triton.lint.judge import lint_repository

__all__ = ["CODES", "Finding", "LintReport", "Severity", "check_lint", "lint_repository"]
