"""NVIDIA's perf_analyzer as the load generator: found, fed with the requests of a run, and its words read.

Its columns are those of the wheel tritonclient 2.45. Each repeat is one run of it with three windows of the measured
time, since it reports no fewer. It is told to take windows that differ (``-s``), which it would else throw away, and
whether they did by its own rule is a note. What it exports of each request holds the whole answers, which would slow
it, so only its summary is taken: percentiles, but no latency of a single request.
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prep_triton.bench.records import Load
from prep_triton.bench.requests import Workload
from prep_triton.errors import GeneratorError, SpecError
from prep_triton.triton.server import launcher

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

ANALYZER_VARIABLE = "PREP_PERF_ANALYZER"
_NAME = "perf_analyzer"
_HOW_TO_GET_IT = (
    "pip install perf-analyzer has it (glibc 2.38 or later), and so does NVIDIA's image tritonserver:YY.MM-py3-sdk; "
    f"{ANALYZER_VARIABLE} names the file where it is not on PATH"
)
_WINDOWS = 3
# By its own rule windows are stable whose throughput and latency differ by less.
_STABLE_RATIO = 1.1
_ANY_DIFFERENCE = "999999"
_FEWEST_THREADS = 16  # its default
_LEAD_S = 60.0
_LONGEST_WORDS = 300
_VERSION = re.compile(r"Perf Analyzer Version ([0-9][^\n]*)")
_PASS = re.compile(r"Pass \[[0-9]+\] throughput: ([0-9.]+) infer/sec\. Avg latency: ([0-9.]+) usec")
_COUNT = re.compile(r"Request count: ([0-9]+)")
_SENT = re.compile(r"Avg send request rate: ([0-9.]+) infer/sec")
_LATE = re.compile(
    r"Perf Analyzer was not able to keep up with the desired request rate\. [0-9.]+% of the requests[^\n]*"
)
_TOO_SHORT = "larger time window"


# What prep's own generator does and perf_analyzer does not, by flag, and why.
_REFUSED = {
    "--slo": "it reports no latency of a single request, and a verdict counts those that were late",
    "--baseline": "it reports no counts, of which the interval of a ratio is made",
    "--against": "it reports no counts, of which the interval of a ratio is made",
    "--processes": "it has threads of its own",
    "--mix": "it loads one entry at a time",
    "--priority": "it ranks no requests",
    "--protocol": "it is given gRPC's address",
}


def check_flags(flags: Sequence[str]) -> None:
    """Raise unless perf_analyzer can do what some flags ask.

    Raises:
        SpecError: It cannot.
    """
    for flag in flags:
        if flag in _REFUSED:
            raise SpecError(
                f"{flag} is not for --load-generator perf-analyzer: {_REFUSED[flag]}",
                hint=f"leave {flag} out, or measure with prep's own generator",
            )


@dataclass(frozen=True)
class Analyzer:
    """A perf_analyzer that starts, and what it says of its version."""

    path: Path
    version: str


@dataclass(frozen=True)
class AnalyzerFigures:
    """What one run of perf_analyzer says.

    `inferences_per_s` are requests a second times its batch; `latency_us` has the mean (0) and the percentiles 50, 90,
    95 and 99. `sent_per_s` is None where it says nothing of it. `notes` are its own words on what is wrong.
    """

    inferences_per_s: float
    requests: int
    latency_us: Mapping[int, float]
    sent_per_s: float | None = None
    is_late: bool = False
    is_stable: bool = True
    notes: tuple[str, ...] = field(default_factory=tuple)


def find_analyzer() -> Analyzer:
    """Return the perf_analyzer of this machine.

    Raises:
        SpecError: There is none.
        GeneratorError: It does not start.
    """
    name = os.environ.get(ANALYZER_VARIABLE) or _NAME
    path = shutil.which(name)
    if path is None:
        said = f"{ANALYZER_VARIABLE}={name} is not a program" if name != _NAME else f"{_NAME} is not on PATH"
        raise SpecError(f"--load-generator perf-analyzer: {said}", hint=_HOW_TO_GET_IT)
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as err:
        raise GeneratorError(f"{path} does not start: {err}", hint=_HOW_TO_GET_IT) from err
    said = done.stdout + done.stderr
    match = _VERSION.search(said)  # it says so on stderr, and ends with 99
    if match is None:
        raise GeneratorError(
            f"{path} does not tell its version as perf_analyzer does: {_last_words(said)}",
            hint="put the folders of the libraries that it misses on LD_LIBRARY_PATH",
        )
    return Analyzer(Path(path), match[1].strip())


def write_inputs(workload: Workload, path: Path) -> None:
    """Write the rows of all requests in the form that ``--input-data`` takes.

    perf_analyzer takes so many rows in turn for each request as its batch has; of an entry without a batch axis it
    takes whole requests.

    Raises:
        SpecError: A text is not UTF-8.
    """
    from tritonclient.grpc import service_pb2

    steps: list[dict[str, Any]] = []
    for request in workload.requests:
        message = service_pb2.ModelInferRequest.FromString(request)
        tensors = {
            tensor.name: _array_from_raw(tensor, raw)
            for tensor, raw in zip(message.inputs, message.raw_input_contents, strict=True)
        }
        rows = workload.batch if workload.model.max_batch_size else 1
        for row in range(rows):
            steps.append(
                {
                    name: _content(array[row] if workload.model.max_batch_size else array)
                    for name, array in tensors.items()
                }
            )
    path.write_text(json.dumps({"data": steps}), encoding="utf-8")


def _array_from_raw(tensor: Any, raw: bytes) -> "Array":
    from tritonclient.utils import deserialize_bytes_tensor, triton_to_np_dtype

    if tensor.datatype == "BYTES":
        return np.asarray(deserialize_bytes_tensor(raw)).reshape(tuple(tensor.shape))
    return np.frombuffer(raw, triton_to_np_dtype(tensor.datatype)).reshape(tuple(tensor.shape))


def _content(array: "Array") -> dict[str, Any]:
    values = array.reshape(-1).tolist()
    if array.dtype == object:
        try:
            values = [value.decode("utf-8") for value in values]
        except UnicodeDecodeError as err:
            raise SpecError(
                "perf_analyzer takes texts in UTF-8 alone, and one is not", hint="write the file of --texts in UTF-8"
            ) from err
    return {"content": values, "shape": list(array.shape)}


def run_analyzer(
    analyzer: Analyzer, workload: Workload, load: Load, place: tuple[str, Path], limits: tuple[float, float]
) -> AnalyzerFigures:
    """Run perf_analyzer once.

    Args:
        analyzer: Which.
        workload: The entry, and how many rows a request has.
        load: How it is loaded.
        place: The server's gRPC address, and the file of `write_inputs`.
        limits: Seconds of each of its windows, and the longest wait for an answer.

    Raises:
        GeneratorError: It failed, or reported nothing.
    """
    address, inputs_path = place
    duration_s, timeout_s = limits
    csv_path = inputs_path.with_suffix(".csv")
    csv_path.unlink(missing_ok=True)
    command = render_command(analyzer, workload, load, (address, inputs_path, csv_path), duration_s)
    # Its windows are cut at answers, and it waits once more for those under way.
    returncode, said = _run(command, (_WINDOWS + 1) * (duration_s + timeout_s) + _LEAD_S)
    if returncode or not csv_path.is_file():
        hint = "measure longer with --duration-s" if _TOO_SHORT in said else "see the server's log"
        raise GeneratorError(f"perf_analyzer failed on {workload.model.name}: {_last_words(said)}", hint=hint)
    return parse_figures(csv_path.read_text(encoding="utf-8"), said, load)


def render_command(
    analyzer: Analyzer, workload: Workload, load: Load, place: tuple[str, Path, Path], duration_s: float
) -> list[str]:
    """Return the command of one run; `place` is the server, the file of inputs and that of its CSV."""
    address, inputs_path, csv_path = place
    command = [str(analyzer.path), "-m", workload.model.name, "-i", "grpc", "-u", address, "-v"]
    command += ["--input-data", str(inputs_path), "-f", str(csv_path)]
    command += ["-b", str(workload.batch if workload.model.max_batch_size else 1)]
    command += ["-p", str(max(1, round(duration_s * 1000))), "-r", str(_WINDOWS), "-s", _ANY_DIFFERENCE]
    if load.kind == "closed":
        number = int(load.value)
        return [
            *command,
            "--concurrency-range",
            str(number),
            "--max-threads",
            str(max(_FEWEST_THREADS, number)),
            "--sync",
        ]
    rate = ["--request-rate-range", str(load.value), "--request-distribution", str(load.arrivals)]
    # Else each of its few threads waits for an answer before it sends the next request.
    return [*command, *rate, "--async"]


def _run(command: list[str], timeout_s: float) -> tuple[int, str]:
    """Run a command that ends with this process; return its exit code and all that it wrote.

    Raises:
        GeneratorError: It cannot be started, or does not end.
    """
    started = [sys.executable, "-I", "-S", launcher.__file__, str(os.getpid()), *command]
    with subprocess.Popen(
        started,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C reaches prep's own process, which ends this one
    ) as process:
        try:
            said, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as err:
            raise GeneratorError(
                f"perf_analyzer did not end within {timeout_s:.0f} s",
                hint="see whether the server hangs, or allow more time with --timeout-s",
            ) from err
        finally:
            process.kill()
    return process.returncode, said


def parse_figures(table: str, said: str, load: Load) -> AnalyzerFigures:
    """Return the figures of one load from perf_analyzer's CSV, read by its column of loads, and from its words.

    Raises:
        GeneratorError: The CSV does not have the load, or a figure of it.
    """
    column = "Concurrency" if load.kind == "closed" else "Request Rate"
    rows = list(csv.DictReader(table.splitlines()))
    try:
        row = next(row for row in rows if float(row[column]) == load.value)
        latency_us = {percent: float(row[f"p{percent} latency"]) for percent in (50, 90, 95, 99)}
        parts = [value for name, value in row.items() if name.startswith(("Client ", "Network", "Server "))]
        throughput, mean_us = float(row["Inferences/Second"]), sum(map(float, parts))
    except (StopIteration, KeyError, TypeError, ValueError) as err:
        raise GeneratorError(
            f"perf_analyzer's CSV does not have {load.describe()} in the columns of version 2.45",
            hint="measure with prep's own generator: leave --load-generator out",
        ) from err
    count, sent = _COUNT.search(said), _SENT.search(said)
    late = _LATE.search(said)
    return AnalyzerFigures(
        inferences_per_s=throughput,
        requests=int(count[1]) if count else 0,
        latency_us={0: mean_us, **latency_us},
        sent_per_s=float(sent[1]) if sent else None,
        is_late=late is not None,
        is_stable=_is_stable(_PASS.findall(said)),
        notes=(late[0].strip(),) if late else (),
    )


def _is_stable(passes: Sequence[tuple[str, str]]) -> bool:
    """Whether the windows agree by perf_analyzer's own rule, in throughput and in latency."""
    columns = ([float(window[index]) for window in passes[-_WINDOWS:]] for index in (0, 1))
    return all(max(values) <= _STABLE_RATIO * min(values) for values in columns if values)


def _last_words(said: str) -> str:
    """Return the lines that say what went wrong, in one."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"error|fail|valid requests", line, re.IGNORECASE)] or lines[-1:]
    return " ".join(dict.fromkeys(telling))[-_LONGEST_WORDS:] or "it said nothing"
