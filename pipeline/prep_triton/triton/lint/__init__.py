"""`prep lint`: finds what is wrong with a model repository, offline: no server, GPU, torch or TensorRT is needed.

The rules, by what they look at (`repository` runs them all):

- folders and files: `tree` (names, versions, links), `manifests` (against manifest.json and server.args), `vendored`
  (shared libraries inside a Python model);
- config.pbtxt by itself: `scheduling` (names and batching), `tensors`, `instances` (GPUs, rate limiter, parameters);
- config.pbtxt against what it names: `models` (graphs, plans, model.py), `warmups`, `ensembles`, `text_parts`;
- the entry against a server (`prep lint --target 25.08 --gpu l4`): `targets`. The rules are stated elsewhere, because
  publishing and deploying obey them too: which plan runs on which GPU is `prep_triton.gpus.is_runnable`, which
  TensorRT loads it and which Python runs what is vendored is `prep_triton.target.find_misfits`.

`finding` has every code with its meaning; `entry` is what a rule is given. A rule is there for what prep writes, for
what a spec lets a user ask for, and for what goes wrong with the files on the way. Other fields of a configuration
(sequence batchers, ragged batches, reshapes, metrics) are left to the server.
An entry that prep did not write is linted too; what needs its manifest is then left out, and a warning says so.

The server's own rules are those of triton-inference-server/core (``src/model_config_utils.cc``,
``src/ensemble_scheduler/ensemble_utils.cc``, ``src/backend_model_instance.cc``) and of its ONNX Runtime and TensorRT
backends; `tests/integration/test_triton_lint.py` holds them against a real server.
"""

from prep_triton.triton.lint.finding import CODES, Finding, LintReport, Severity, check_lint
from prep_triton.triton.lint.repository import lint_repository

__all__ = ["CODES", "Finding", "LintReport", "Severity", "check_lint", "lint_repository"]
