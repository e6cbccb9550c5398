"""What lint says: findings with stable codes, and the report that holds them.

A code is an area and a word, and never changes its meaning; `CODES` is the one list of them, which
``prep lint --codes`` prints.
"""

from typing import Literal

from pydantic import computed_field

from prep_triton.artifact import Record
from prep_triton.errors import RepositoryError
from prep_triton.triton.config import traps

Severity = Literal["error", "warning"]

MESSAGE_LIMIT = 500

# An error: a server refuses it, or serves something else than what the files say. A warning: it is served, but
# misleads, is lost on the way, or could not be checked.
_ERRORS = {
    "repository-empty": "the repository has no entry",
    "entry-hidden": "a hidden folder, which the server takes for an entry",
    "file-missing": "a file that the configuration names, or that the backend needs, is not in its folder",
    "file-unreadable": "a file or a folder cannot be read",
    "link-broken": "a link leads nowhere",
    "version-name": "a version folder whose name the server misreads",
    "version-none": "no version would be served",
    "config-missing": "an entry without config.pbtxt",
    "config-syntax": "config.pbtxt is not a model configuration",
    "config-unknown-field": "a field that ModelConfig does not have",
    "config-name": "the name is not the folder's",
    "config-platform": "platform and backend name no backend, or not the same one",
    "config-batch-size": "max_batch_size is negative",
    "batching-preferred-size": "a preferred batch size is not within 1..max_batch_size",
    "batching-priority": "default_priority_level, or a queue policy's level, is not within the levels",
    "batching-ordering": "preserve_ordering with several levels, or with delayed requests",
    "tensor-invalid": "an input or output lacks its name, type or dims, or they make no tensor",
    "tensor-duplicate": "two inputs, or two outputs, have the same name",
    "tensor-batch": "a batch_input or batch_output of another kind, type or source than the server takes",
    "sequence-control": "a control of sequence batching without a name, twice, or with other values than it takes",
    "sequence-scheduling": "a share, a batch size or an initial state of sequence batching that the server refuses",
    "instance-devices": "GPUs or profiles on an instance that has none",
    "instance-kind": "a kind of instance that the server does not know, or that the backend refuses",
    "instance-profile": "a profile that is not an index, or that the plan does not have",
    "server-resource": "an instance needs more of a rate limiter's resource than server.args gives",
    "parameter-value": "a parameter's value that the backend, or the entry's own model.py, refuses",
    "cache-decoupled": "a response cache on a model whose answers are decoupled from its requests",
    "rate-limiter-resource": "a resource is both global and of a device",
    "backend-accelerator": "an execution accelerator that ONNX Runtime's backend does not know",
    "model-damaged": "the model file is empty, truncated or damaged",
    "model-operators": "a graph has operators that ONNX Runtime does not bring, and no library of them is named",
    "python-syntax": "model.py does not parse with the Python that lint runs on",
    "model-tensor": "the configuration's tensors are not the model's",
    "model-batch-axis": "max_batch_size on a model without a batch axis, or beyond what a plan takes",
    "plan-rtx": "a TensorRT-RTX engine, which no Triton backend loads",
    "plan-onnx": "an ONNX graph under the name of a plan",
    "plan-architecture": "a plan for another compute capability than it is filed under",
    "text-labels": "an ensemble's label file that does not have its model's labels in their order",
    "text-stale": "a tokenizer, post-processor or ensemble that was made for an earlier model entry",
    "ensemble-field": "a field that an ensemble must not have",
    "ensemble-step": "a step without model or maps, or of a model that is not there",
    "ensemble-tensor": "a map names a tensor that the model does not have, or leaves an input out",
    "ensemble-type": "types or dims differ along an edge",
    "ensemble-flow": "a tensor is produced twice, never, or for nobody",
    "ensemble-batch-size": "the ensemble allows a larger batch than a step",
    "warmup-input": "a warm-up sample's inputs are not the model's",
    "warmup-data": "warm-up data is missing or has the wrong length",
    "warmup-batch": "a warm-up sample is larger than max_batch_size: servers crash on it",
    "warmup-vocabulary": "warm-up ids beyond the vocabulary, or longer than the model takes",
    "manifest-damaged": "manifest.json is not the manifest of an entry",
    "manifest-file": "a file is missing, or not what the manifest says",
    "manifest-entry": "the manifest is of another entry, or of another kind of entry",
    "server-argument-refused": "server.args has an argument that no entry may ask for",
    "vendored-damaged": "a vendored library is not a library",
    "vendored-platform": "a vendored library is for another architecture",
    "vendored-python": "a vendored library is for another Python",
    "target-gpu": "an entry does not fit the target's GPUs",
    "target-tensorrt": "a plan was built by another TensorRT than the target has",
    "target-onnxruntime": "a graph for which the target's ONNX Runtime gives wrong answers",
    "target-openvino": "a graph with an operator that the target's OpenVINO does not read",
    "target-python": "a vendored package does not fit the target's Python",
    "target-platform": "an entry, or a package in it, does not fit the target's platform",
}
_WARNINGS = {
    "config-edited": "config.pbtxt was edited by hand: a server takes it, verify and publish once it is adopted",
    "entry-unassembled": "folders with config.pbtxt alone, as git tracks them: not assembled here",
    "entry-unmade": "an entry that the repository's pipeline file does not make, or no longer",
    "entry-case": "the names of two entries differ in upper and lower case alone",
    "entry-leftover": "what a killed run left; the next `prep assemble` removes it",
    "file-stray": "a file or folder that does not belong here",
    "link-outside": "a link out of the repository: a release has no such link",
    "version-ignored": "a folder that the server ignores: not a version number",
    "version-absent": "the version policy names a version that is not there",
    "version-empty": "an empty version folder, which object stores and git do not keep",
    "config-duplicate-key": "a key of a map is given twice: the last one wins",
    "config-incomplete": "inputs or outputs are left to the server's auto-complete",
    "front-classify": "an ensemble with a label file that Dynamo's /v1/classify does not take",
    "labels-count": "fewer labels than an output has values",
    "batching-useless": "a setting of the queue, or a model's batch axis, without effect",
    "batching-static": "a batch that OpenVINO's backend makes static: it answers requests that fill it alone",
    "batching-held": f"priority levels on one instance, which hold batches back ({traps.HELD_BATCH.name})",
    "batching-timeout": f"a default timeout that is reported to slow the server down ({traps.DEFAULT_TIMEOUT.name})",
    "backend-ignores-field": "a field that the backend never reads",
    "path-relative": "a path that the server follows from the folder it was started in",
    "backend-parameter": "a parameter that looks misspelt",
    "plan-suspect": "a plan that begins as TensorRT-RTX engines do, and no manifest says what it is",
    "ensemble-priority": f"priority levels in a step, which a request's may not reach ({traps.ENSEMBLE_PRIORITY.name})",
    "ensemble-optional": "an input is optional in an ensemble, and its step refuses requests without it",
    "warmup-skipped": "a warm-up sample of batch 0, which the server skips",
    "warmup-random": "random warm-up ids lie beyond any vocabulary",
    "warmup-length": "warm-up data is longer than its dims: the rest is not read",
    "manifest-missing": "no manifest.json, so nothing was checked against it",
    "manifest-batch-size": "max_batch_size is not the manifest's",
    "server-arguments": "an entry needs a server argument that server.args does not have",
    "vendored-edited": "code in an entry that is not what this prep vendors",
    "vendored-version": "an entry whose code another prep vendored",
    "weights-random": "a model with random weights",
    "ensemble-queue": f"a step's queue has a largest size, and requests may hang ({traps.ENSEMBLE_QUEUE.name})",
    "target-unknown": "the target's TensorRT version is not known",
    "target-driver": "the target's driver is older than its container's CUDA needs",
    "target-unproven": "a Turing GPU with TensorRT 11, for which nobody is known to have built a plan",
}
CODES: dict[str, tuple[Severity, str]] = {
    **{code: ("error", meaning) for code, meaning in _ERRORS.items()},
    **{code: ("warning", meaning) for code, meaning in _WARNINGS.items()},
}


class Finding(Record):
    """One thing that is wrong: `message` in a sentence, `hint` as a command or a change.

    `path` is relative to the repository; `line` (from 1) and `field` (``input[0].dims``) are set where they
    are known.
    """

    code: str
    severity: Severity
    path: str
    line: int | None = None
    field: str = ""
    message: str
    hint: str

    @computed_field  # type: ignore[prop-decorator]
    @property
    def place(self) -> str:
        """Where it is: ``minilm/config.pbtxt:12 (dynamic_batching)``."""
        line = f":{self.line}" if self.line else ""
        return f"{self.path or '.'}{line}" + (f" ({self.field})" if self.field else "")


def make_finding(code: str, path: str, message: str, hint: str, *, line: int | None = None, field: str = "") -> Finding:
    """Build a finding with the severity of its code; whatever it quotes is escaped so that it can be printed."""
    return Finding(
        code=code,
        severity=CODES[code][0],
        path=_printable(path),
        line=line,
        field=_printable(field),
        message=_printable(message),
        hint=_printable(hint),
    )


def _printable(text: str) -> str:
    """Escape what would break the line or steer a terminal: a foreign repository's names may hold anything."""
    kept = text if len(text) <= MESSAGE_LIMIT else f"{text[:MESSAGE_LIMIT]}…"
    if kept.isprintable():
        return kept
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape", "backslashreplace").decode() for sign in kept
    )


class LintReport(Record):
    """What lint found in a repository, a folder or a release: errors first, then by place.

    `entries` are the names that were linted.
    """

    repository: str
    target: str | None = None
    entries: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that a server would fail on."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The other findings."""
        return tuple(finding for finding in self.findings if finding.severity == "warning")


def check_lint(report: LintReport) -> None:
    """Refuse a repository in which lint found an error.

    Raises:
        RepositoryError: Names the first error and counts the others.
    """
    if not report.errors:
        return
    first, others = report.errors[0], len(report.errors) - 1
    more = f" (and {others} more)" if others else ""
    raise RepositoryError(
        f"{report.repository} would not be served as it is: {first.place}: {first.message} [{first.code}]{more}",
        hint=f"{first.hint}; prep lint {report.repository} lists everything",
    )
