"""A perf_analyzer that measures nothing: it writes what the real one of the wheel tritonclient 2.45 wrote.

``write_stand_in`` makes a program of it. Its words and its CSV are those of runs on a real server; only the load is the
one that was asked for. It keeps its arguments beside the CSV.
"""

import argparse
import sys
from pathlib import Path

VERSION = "2.45.0 (commit 3c1eb13)"
COLUMNS = (
    "Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,Server Compute Input,Server Compute Infer,"
    "Server Compute Output,Client Recv,p50 latency,p90 latency,p95 latency,p99 latency"
)
CLOSED_ROW = "22.1606,8,5575,94991,115,232154,1576,9,352223,400583,407583,634888"
OPEN_ROW = "133.798,1,6437,910340,835,106993,3903,1,1073914,1599523,1732988,1736595"
CLOSED_WORDS = """\
Request concurrency: {load}
  Pass [1] throughput: 22.1 infer/sec. Avg latency: 334430 usec (std 88394 usec).
  Pass [2] throughput: 22.5 infer/sec. Avg latency: 330112 usec (std 88394 usec).
  Pass [3] throughput: 21.8 infer/sec. Avg latency: 338630 usec (std 88394 usec).
  Client:
    Request count: 28
    Throughput: 22.1606 infer/sec
    Avg latency: 334430 usec (standard deviation 88394 usec)
"""
OPEN_WORDS = """\
Request Rate: {load} inference requests per seconds
  Pass [1] throughput: 58.8678 infer/sec. Avg latency: 362958 usec (std 98536 usec).
  Pass [2] throughput: 210.687 infer/sec. Avg latency: 919157 usec (std 201468 usec).
  Pass [3] throughput: 132.326 infer/sec. Avg latency: 1502981 usec (std 166863 usec).
  Client:
    Request count: 122
    Avg send request rate: 2969.98 infer/sec
    [WARNING] Perf Analyzer was not able to keep up with the desired request rate. 67.21% of the requests were delayed.
    Throughput: 133.80 infer/sec
"""
UNKNOWN_MODEL = "error: failed to get model metadata: Request for unknown model: 'nothing' is not found"
TOO_SHORT = """\
  Pass [1] cb::Error: No valid requests recorded within time interval. Please use a larger time window.
  Pass [3] throughput: 52.1983 infer/sec. Avg latency: 1508214 usec (std 196574 usec).
No valid requests recorded within time interval. Please use a larger time window.
"""


def write_stand_in(folder: Path) -> Path:
    """Write a program that behaves as perf_analyzer."""
    path = folder / "perf_analyzer"
    path.write_text(f"#!{sys.executable} -S\n{Path(__file__).read_text(encoding='utf-8')}", encoding="utf-8")
    path.chmod(0o755)
    return path


def main() -> int:
    """Answer as the real one did."""
    if "--version" in sys.argv:
        sys.stderr.write(f"Perf Analyzer Version {VERSION}\n")
        return 99
    parser = argparse.ArgumentParser()
    for flag in ("-m", "-f", "--input-data", "--concurrency-range", "--request-rate-range"):
        parser.add_argument(flag)
    arguments, _ = parser.parse_known_args()
    if arguments.m == "nothing":
        sys.stderr.write(UNKNOWN_MODEL)
        return 99
    if arguments.m == "slow":
        sys.stderr.write(TOO_SHORT)
        return 3
    is_open = arguments.request_rate_range is not None
    load = arguments.request_rate_range or arguments.concurrency_range
    sys.stdout.write((OPEN_WORDS if is_open else CLOSED_WORDS).format(load=load))
    column, row = ("Request Rate", OPEN_ROW) if is_open else ("Concurrency", CLOSED_ROW)
    # Sorted by throughput, as the real one sorts: the load is to be read by its column.
    other = f"{float(load) + 1:g},1,1,1,1,1,1,1,1,1,1,1,1\n"
    Path(arguments.f).write_text(f"{column},{COLUMNS}\n{other}{float(load):g},{row}\n", encoding="utf-8")
    Path(arguments.f).with_name("arguments.txt").write_text("\n".join(sys.argv[1:]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
