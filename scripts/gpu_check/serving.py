"""What `prep` does with the engines, as a user runs it: a repository, a server, the sweep, the bursts, the report."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prep_triton.errors import PrepError

from scripts.gpu_check.machine import IMAGE_SERVER, find_tritonserver
from scripts.gpu_check.request import NOT_SERVED, Request
from scripts.gpu_check.steps import CannotError

SWEEP_NAME, BURSTS_NAME, REPORT_NAME = "sweep.json", "bursts.json", "report.html"
# In place of each precision's plan, in a rehearsal: what a Triton without a GPU serves. OpenVINO says itself that it is
# not exact: where a CPU has BF16, it computes FP32 graphs in that too.
STAND_INS = {"fp16": ("openvino", "bf16"), "int8": ("onnxruntime", "fp32")}
_TIMEOUT_S = 300


@dataclass(frozen=True)
class Prep:
    """Runs commands of `prep`; what each of them says is kept in `logs_dir`, by the name of its step."""

    request: Request

    @property
    def logs_dir(self) -> Path:
        """Where the commands' output goes."""
        return self.request.folder / "logs"

    def run(self, step: str, *arguments: object) -> dict[str, Any]:
        """Run a command with --json and return its document.

        Raises:
            PrepError: It failed; has the command's own message and hint.
        """
        self.logs_dir.mkdir(parents=True, exist_ok=True)
        command = ["prep", *map(str, arguments), "--json"]
        server = None if self.request.rehearse else find_tritonserver()
        own = {"PREP_TRITONSERVER": str(server)} if server else {}
        program = Path(sys.executable).with_name("prep")
        done = subprocess.run(
            [str(program), *command[1:]], env={**os.environ, **own}, capture_output=True, text=True, check=False
        )
        with (self.logs_dir / f"{step}.txt").open("a", encoding="utf-8") as stream:
            stream.write(f"$ {shlex.join(command)}\n{done.stderr}{done.stdout}exit code {done.returncode}\n\n")
        if done.returncode != 0:
            raise _error_from(done, shlex.join(command))
        document = json.loads(done.stdout)
        return document if isinstance(document, dict) else {}


def _error_from(done: "subprocess.CompletedProcess[str]", command: str) -> PrepError:
    """Return a command's own error."""
    try:
        error = json.loads(done.stdout)["error"]
        return PrepError(error["message"], hint=error["hint"])
    except (ValueError, KeyError, TypeError):
        last = (done.stderr.strip().splitlines() or ["it wrote nothing"])[-1]
        return PrepError(f"exit code {done.returncode}: {last}", hint=f"run it again: {command}")


def list_entries(request: Request, name_of: dict[str, str]) -> list[tuple[str, str, str]]:
    """Return of each entry that is served its model's name, its precision and its own name."""
    kinds = {"fp16": "trt-fp16", "int8": "trt-int8"}
    if request.rehearse:
        kinds = {precision: "-".join(stand_in) for precision, stand_in in STAND_INS.items()}
    models = [name for name in request.models if name not in NOT_SERVED]
    return [
        (name_of[model], precision, f"{name_of[model]}-{kind}") for model in models for precision, kind in kinds.items()
    ]


def assemble(prep: Prep, entries: Sequence[tuple[str, str, str]]) -> str:
    """Write the repository anew: the first model's entries are of tier 1, the others' of tier 2."""
    request = prep.request
    if not entries:
        names = " and ".join(sorted(NOT_SERVED))
        raise CannotError(f"{names} shows what INT8 does to answers and is not served: add --model bert-base")
    for model, precision, name in entries:
        runtime, held = ("tensorrt", precision)
        batch: tuple[object, ...] = ()
        if request.rehearse:
            # OpenVINO has any batch of its own accord.
            runtime, held = STAND_INS[precision]
            batch = () if runtime == "openvino" else ("--max-batch-size", 16)
        tier = 1 if model == entries[0][0] else 2
        flags = ("--runtime", runtime, "--precision", held, "--name", name, "--tier", tier, *batch)
        prep.run("assemble", "assemble", model, *flags, "-o", repository_of(request), "--workspace", request.workspace)
    return ", ".join(name for *_, name in entries)


def repository_of(request: Request) -> Path:
    """Return where the entries are."""
    return request.folder / "model_repository"


def check_server(request: Request) -> None:
    """Raise where no server can load plans.

    Raises:
        CannotError: This machine has none of its own.
    """
    if not request.rehearse and find_tritonserver() is None:
        raise CannotError(f"no tritonserver on PATH, and none at {IMAGE_SERVER}: run this inside the Triton image")


def verify(prep: Prep) -> str:
    """Have a Triton load every entry, and hold its answers against PyTorch's."""
    check_server(prep.request)
    document = prep.run("verify", "verify", repository_of(prep.request), "--timeout-s", _TIMEOUT_S)
    entries = document["entries"]
    left = [entry["name"] for entry in entries if entry["status"] != "loaded"]
    if left:
        raise PrepError(f"not verified: {', '.join(left)}", hint=f"read {prep.logs_dir / 'verify.txt'}")
    return f"{len(entries)} entries on Triton {document['server_version']} ({document['server_flavour']})"


def sweep(prep: Prep) -> str:
    """Measure every entry under the loads of the blog."""
    check_server(prep.request)
    request, load = prep.request, prep.request.load
    sent = ("--concurrency", load.concurrency, "--batch", load.batch, "--seq-len", load.seq_len)
    timing = ("--duration-s", load.duration_s, "--repeats", load.repeats, "--timeout-s", _TIMEOUT_S)
    document = prep.run("sweep", "bench", repository_of(request), *sent, *timing, "-o", request.folder / SWEEP_NAME)
    best: dict[str, float] = {}
    for point in document["points"]:
        if point["errors"]:
            raise PrepError(
                f"{point['entry']}: {point['errors']} requests failed: {'; '.join(point['error_messages'])}",
                hint=f"read {prep.logs_dir / 'sweep.txt'}",
            )
        best[point["entry"]] = max(best.get(point["entry"], 0.0), point["inferences_per_s"]["value"])
    return ", ".join(f"{name}: {rate:.1f} inferences/s at most" for name, rate in best.items())


def bursts(prep: Prep, entries: Sequence[tuple[str, str, str]]) -> str:
    """Play bursts of two tiers: INT8 of the first model against INT8 of the last."""
    check_server(prep.request)
    request, load = prep.request, prep.request.load
    names = [name for _, precision, name in entries if precision == "int8"]
    tiers = ("--bursts", "--tier-1", names[0], "--tier-2", names[-1])
    sent = ("--batch", load.batch, "--seq-len", load.seq_len)
    timing = ("--duration-s", load.burst_s, "--repeats", load.burst_rounds, "--timeout-s", _TIMEOUT_S)
    prep.run("bursts", "bench", repository_of(request), *tiers, *sent, *timing, "-o", request.folder / BURSTS_NAME)
    return f"{names[0]} as tier 1, {names[-1]} as tier 2"


def report(prep: Prep) -> str:
    """Write what the sweep measured as a page for a browser."""
    request = prep.request
    path = request.folder / REPORT_NAME
    prep.run("report", "report", request.folder / SWEEP_NAME, repository_of(request), "-o", path)
    return str(path)
