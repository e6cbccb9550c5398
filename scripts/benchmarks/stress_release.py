"""Publishers under stress on a local GCS server, and a check of what is left of their releases; see `measure_release`.

Whatever happens to a publisher, each release must be whole or have no release.json, the pointer must name a whole
one, and the next publish must complete. What breaks that is reported in capitals; see `release_checks`.
"""

import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, cycle, islice, product
from pathlib import Path

from prep_triton.errors import PointerMovedError, PrepError
from prep_triton.layout import POINTER_NAME, RELEASE_NAME
from prep_triton.publish.catalog import list_ids, read_pointer
from prep_triton.publish.gcs import GcsStore
from prep_triton.publish.gcs.session import GcsSession, Patience
from prep_triton.publish.plan import plan_release
from prep_triton.publish.release import Published, carry_out, publish_release
from prep_triton.publish.store import Store
from prep_triton.publish.uri import open_store, parse_gcs_uri

from scripts.benchmarks.fault_proxy import run_fault_proxy
from scripts.benchmarks.meddled_store import MEDDLINGS, MeddledStore
from scripts.benchmarks.records import save_entry
from scripts.benchmarks.release_checks import check_store, find_broken, find_untrue

MB = 1_000_000
RATES = (0.02, 0.05, 0.1, 0.2, 0.4)
# A stalled answer is given up soon, so that hundreds of runs take minutes.
IMPATIENT = Patience(connect_s=1.0, answer_s=0.3, retry_after_s=0.01, retry_for_s=3.0, first_retry_for_s=1.0)

# Publishes in a process of its own, which may end itself at a request, and tells its peak memory.
CHILD = """
import os, resource, signal, sys, threading
from pathlib import Path
from prep_triton.publish.release import publish_release
from prep_triton.publish.uri import open_store
folder, uri, mark, number, after = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5] == "after"
store = open_store(uri)
import requests
send, lock, sent = requests.Session.request, threading.Lock(), 0
def request(self, method, url, data=None, **options):
    global sent
    with lock:
        # Counted from the first upload that has the mark: its name is in the body.
        if sent or not mark or (method == "POST" and isinstance(data, bytes) and mark.encode() in data):
            sent += 1
        mine = sent == number and sent > 0
    if mine and not after:
        os.kill(os.getpid(), signal.SIGKILL)
    answer = send(self, method, url, data=data, **options)
    if mine:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer
requests.Session.request = request
publish_release(Path(folder), store)
print(sent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""

# A moment to be killed at: before or after the nth request, counted from the one that uploads `mark`.
KillPoint = tuple[str, int, str]
# A release is sealed with its release.json, and readers see it through the pointer: a few kills must meet both, and
# what lies between them. What is written too early is seen after it alone.
AROUND_THE_SEAL: tuple[KillPoint, ...] = (
    (RELEASE_NAME, 1, "before"),
    (RELEASE_NAME, 1, "after"),
    (RELEASE_NAME, 3, "before"),
    (POINTER_NAME, 1, "before"),
    (POINTER_NAME, 1, "after"),
    (POINTER_NAME, 2, "after"),
)


def write_repository(folder: Path, names: list[str], *, seed: int = 0, size: int = 8000) -> Path:
    """Write entries whose graphs are noise that depends on the seed; entries that are there already stay."""
    for name in names:
        entry_dir = folder / name
        (entry_dir / "1").mkdir(parents=True, exist_ok=True)
        (entry_dir / "config.pbtxt").write_text(f'name: "{name}"\n', encoding="utf-8")
        block = (f"{name} {seed} ".encode() * MB)[:MB]
        with (entry_dir / "1" / "model.onnx").open("wb") as stream:
            for first in range(0, size, MB):
                stream.write(block[: size - first])
        save_entry(entry_dir, key=f"{seed:016x}")
    return folder


class Bench:
    """A local GCS server with a bucket (``gs://…``), a folder to write in, and the rows of the table."""

    def __init__(self, url: str, scratch: Path, uri: str) -> None:
        self.url, self.scratch, self.uri = url, scratch, uri
        self.rows = list[tuple[str, str]]()
        self.prelude = ""  # Python that publishers in processes of their own begin with: a test's mistake

    def repository(self, names: list[str], **options: int) -> Path:
        """Write a repository from nothing."""
        shutil.rmtree(self.scratch / "repository", ignore_errors=True)
        return write_repository(self.scratch / "repository", names, **options)

    def report(self, what: str, figure: str) -> None:
        """Keep a row, and print it."""
        self.rows.append((what, figure))
        print(f"{what:<62} {figure}", flush=True)


def stress_by_faults(bench: Bench, runs: int) -> None:
    message, met = Counter[str](), Counter[str]()
    with run_fault_proxy(bench.url, stall_s=0.5) as proxy:
        for seed in range(runs):
            folder = bench.repository(["one", "two"], seed=seed, size=9 * MB if seed % 4 == 0 else 8000)
            uri = f"{bench.uri}/faults{seed // 2}"  # every other one meets an earlier release
            proxy.plan(seed, RATES[seed % len(RATES)])
            try:
                publish_release(folder, open_behind(proxy.url, uri))
                message["published"] += 1
                message.update(find_untrue(folder, uri))
            except PrepError:
                message["refused"] += 1
            met.update(proxy.met)
            message.update(check_store(folder, uri))
    bench.report(f"faults: {runs} seeded runs, {sum(met.values())} faults", render(message))
    bench.report("  of them", render(met))


def stress_by_kills(bench: Bench, runs: int) -> None:
    folder, message, points = bench.repository(["one", "two", "three"]), Counter[str](), 0
    for point in islice(iterate_kill_points(), runs):
        uri = f"{bench.uri}/kills{points}"
        write_repository(folder, ["one"], seed=0)
        publish_release(folder, open_store(uri))  # so that there is something to copy, and a pointer to move
        write_repository(folder, ["one"], seed=1)
        code = run_child(bench, folder, uri, point, check=False).returncode
        if code == 0:
            message.update(find_untrue(folder, uri))
            if point not in AROUND_THE_SEAL:  # it took fewer requests
                break
            message[f"NO WRITE OF {point[0]}"] += 1
        elif code != -signal.SIGKILL:
            message["FAILED BY ITSELF"] += 1
        points += 1
        message.update(check_store(folder, uri))
    bench.report(f"kill -9 at {points} points", render(message))


def iterate_kill_points() -> Iterator[KillPoint]:
    yield from AROUND_THE_SEAL
    for number in count(1):
        yield "", number, "before"
        yield "", number, "after"


def stress_by_meddling(bench: Bench, runs: int) -> None:
    """Let somebody else change what a publisher has just written: it must refuse, and seal nothing."""
    folder, message = bench.repository(["one", "two"]), Counter[str]()
    for number, (meddling, is_copy) in enumerate(islice(cycle(product(MEDDLINGS, (False, True))), runs)):
        uri = f"{bench.uri}/meddling{number}"
        write_repository(folder, ["one"], seed=0)
        publish_release(folder, open_store(uri))  # so that there is something to copy
        write_repository(folder, ["one"], seed=1)
        plan = plan_release(folder, open_store(uri))
        names = sorted(plan.copies if is_copy else plan.uploads)
        store = MeddledStore(uri, names[number % len(names)], meddling)
        try:
            carry_out(plan, store)
            message.update(find_untrue(folder, uri))
        except PrepError:
            message["refused"] += 1
        if not store.is_done:
            message["NOTHING TO MEDDLE WITH"] += 1
        message.update(check_store(folder, uri))
    bench.report(f"{runs} times another changed an object meanwhile", render(message))


def stress_by_races(bench: Bench, runs: int) -> None:
    for publishers in (2, 4):
        message = Counter[str]()
        for run in range(runs):
            message.update(race(bench, publishers, f"{bench.uri}/races{publishers}-{run}"))
        bench.report(f"{publishers} publishers at once, {runs} rounds", render(message))


def race(bench: Bench, publishers: int, uri: str) -> Counter[str]:
    """Let publishers of different content begin from the same pointer; count who won and whom the others name."""
    folders = [
        write_repository(bench.scratch / f"racer{number}", ["one", "two"], seed=number) for number in range(publishers)
    ]
    barrier = threading.Barrier(publishers)

    def publish(folder: Path) -> Published | PointerMovedError:
        store = open_store(uri)
        plan = plan_release(folder, store)
        barrier.wait(60)
        try:
            return carry_out(plan, store)
        except PointerMovedError as err:
            return err

    with ThreadPoolExecutor(publishers) as pool:
        answers = list(pool.map(publish, folders))
    store = open_store(uri)
    pointer = read_pointer(store).pointer
    winners = [answer for answer in answers if isinstance(answer, Published)]
    named = {answer.release_id for answer in answers if isinstance(answer, PointerMovedError)}
    untrue = [
        find_untrue(folder, uri)
        for folder, answer in zip(folders, answers, strict=True)
        if isinstance(answer, Published)
    ]
    current = {pointer.release} if pointer else set()
    one_won = len(winners) == 1 and {winners[0].release.id} == current == (named or current)
    none_lost = len(list_ids(store)) == publishers
    message = sum(untrue, find_broken(store)) or Counter({"whole": 1})
    message["one winner, named to the others" if one_won else "NOT ONE WINNER"] += 1
    message["none lost" if none_lost else "LOST"] += 1
    return message


def open_behind(proxy_url: str, uri: str, patience: Patience = IMPATIENT) -> Store:
    """Open a store whose client speaks to the proxy, while the environment names the server itself."""
    location = parse_gcs_uri(uri)
    return GcsStore(location, GcsSession(location.bucket, emulator_url=proxy_url, patience=patience))


def run_child(
    bench: Bench, folder: Path, uri: str, point: KillPoint = ("", 0, "before"), *, check: bool = True
) -> "subprocess.CompletedProcess[str]":
    mark, number, moment = point
    command = [sys.executable, "-c", bench.prelude + CHILD, str(folder), uri, mark, str(number), moment]
    return subprocess.run(command, check=check, capture_output=True, text=True)


def render(message: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(message.items(), key=lambda item: -item[1]))
