"""What is known of a release only after it was published: how it was verified, and why it is not current.

``<store>/reports/<id>.json``, beside the release, which is immutable: ``entries`` as `prep verify` reported them,
``regressions``, each with a ``message``, and ``failed``, the message of a verification that failed.
"""

import json
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from prep_triton.errors import PreconditionError, StoreError
from prep_triton.layout import REPORTS_DIR, name_of_report
from prep_triton.publish.store import CREATE_ONLY, READ_THREADS, Store

log = logging.getLogger(__name__)

_ATTEMPTS = 3


def save_report(store: Store, release_id: str, content: Mapping[str, Any]) -> None:
    """Write the report of a release, over an earlier one.

    Of two runs that report at once either may win: both report the same release.

    Raises:
        StoreError: The store refused or failed.
    """
    name = name_of_report(release_id)
    body = f"{json.dumps(content, indent=2, sort_keys=True)}\n".encode()
    for attempt in range(_ATTEMPTS):
        stored = store.stat(name)
        if stored and store.read_bytes(name) == body:
            return
        try:
            store.write_bytes(name, body, if_generation_match=stored.generation if stored else CREATE_ONLY)
        except PreconditionError:  # another run's report, or our own, whose answer was lost
            if attempt + 1 == _ATTEMPTS:
                raise
        else:
            return


def load_report(store: Store, release_id: str) -> dict[str, Any]:
    """Return the report of a release; empty where there is none, or none that can be read."""
    name = name_of_report(release_id)
    if store.stat(name) is None:
        return {}
    try:
        content = json.loads(store.read_bytes(name))
    except ValueError:
        log.warning("%s/%s is damaged and is ignored", store.uri, name)
        return {}
    return content if isinstance(content, dict) else {}


def is_unfit(report: Mapping[str, Any]) -> bool:
    """Whether a report says that its release should not be served: it is worse, or failed on a real Triton."""
    return bool(report.get("regressions") or report.get("failed"))


def why_unfit(report: Mapping[str, Any]) -> str:
    """Return why a report's release should not be served; empty where nothing is said against it."""
    if report.get("failed"):
        return str(report["failed"])
    regressions = report.get("regressions")
    messages = [item.get("message") for item in regressions or () if isinstance(item, Mapping)]
    return "; ".join(map(str, messages)) or ("it is worse" if regressions else "")


def load_reports(store: Store) -> dict[str, dict[str, Any]]:
    """Return the report of every release that has one, by the release's id."""
    names = [stored.name for stored in store.list_objects(f"{REPORTS_DIR}/") if stored.name.endswith(".json")]
    ids = [name.removeprefix(f"{REPORTS_DIR}/").removesuffix(".json") for name in names]
    with ThreadPoolExecutor(READ_THREADS) as pool:
        return dict(zip(ids, pool.map(lambda release_id: load_report(store, release_id), ids), strict=True))


def find_unfit(store: Store) -> set[str]:
    """Return the ids of the releases that did not become current because they were worse, or failed."""
    return {release_id for release_id, report in load_reports(store).items() if is_unfit(report)}


def delete_report(store: Store, release_id: str) -> None:
    """Remove the report of a release that is gone, if there is one; that the store refuses is ignored."""
    stored = store.stat(name_of_report(release_id))
    if stored:
        with suppress(StoreError):
            store.delete_object(stored.name, if_generation_match=stored.generation)
