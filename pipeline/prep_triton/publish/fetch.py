"""Copying a release, or what a verifier needs of it, to this machine, with every file checked."""

import logging
from pathlib import Path

from prep_triton.errors import ReleaseDamagedError, SpecError, StoreError
from prep_triton.layout import RELEASE_NAME, SERVER_ARGUMENTS_NAME, folder_of_release
from prep_triton.os_errors import file_of
from prep_triton.progress import Progress, ignore_progress
from prep_triton.publish.catalog import resolve
from prep_triton.publish.record import Release, find_record_faults, render_release
from prep_triton.publish.store import Store, store_error_from_os
from prep_triton.publish.transfer import digest_files, download_files
from prep_triton.scratch import locked_folder
from prep_triton.server_arguments import render_server_arguments

log = logging.getLogger(__name__)


def fetch_release(store: Store, reference: str, target_dir: Path, *, progress: Progress = ignore_progress) -> Release:
    """Copy a whole release into a folder that appears when everything in it was checked.

    The folder is a model repository for Triton: the entries, ``release.json``, and ``server.args`` where the release
    asks for server arguments. A folder that holds this very release already is checked and left as it is.

    Args:
        store: Where the release is.
        reference: The release; see `resolve`.
        target_dir: The folder to make; it may exist and be empty.
        progress: Receives the share of the bytes.

    Raises:
        SpecError: The folder holds something else.
        StoreError: There is no such release, a file of it is missing, or is not what the release says.
        DiskFullError: No space is left; nothing was kept.
    """
    release = resolve(store, reference)
    for fault in find_record_faults(release):
        raise ReleaseDamagedError(fault, hint="publish again, or name another release with --release")
    final_dir = target_dir.absolute()
    try:
        if target_dir.exists() and not (target_dir.is_dir() and not any(target_dir.iterdir())):
            _check_fetched(release, target_dir, progress)
            return release
        final_dir.parent.mkdir(parents=True, exist_ok=True)
        with locked_folder(final_dir.parent, f".{final_dir.name}.fetching-") as staging:
            download_files(store, folder_of_release(release.id), release.files, staging, progress)
            if release.server_arguments:
                text = render_server_arguments(release.server_arguments)
                (staging / SERVER_ARGUMENTS_NAME).write_text(text, encoding="utf-8")
            (staging / RELEASE_NAME).write_bytes(render_release(release))
            staging.replace(final_dir)
    except FileNotFoundError as err:  # where it is written: what is read has an error of the store
        message = f"{file_of(err) or final_dir} cannot be written: {err.strerror}"
        raise StoreError(message, hint="name a folder that you can write") from err
    except OSError as err:
        raise store_error_from_os(err, str(final_dir)) from err
    return release


def fetch_reference_files(
    store: Store, release: Release, target_dir: Path, *, progress: Progress = ignore_progress
) -> Path:
    """Copy what a verifier needs of a release: every file directly in an entry's folder, so no model binaries.

    Returns:
        `target_dir`, which then holds ``<entry>/config.pbtxt``, ``manifest.json``, ``reference.npz`` and perhaps
        ``tokenizer.json`` of each entry.

    Raises:
        StoreError: A file is missing, or is not what the release says.
    """
    files = {name: file for name, file in release.files.items() if name.count("/") == 1}
    try:
        download_files(store, folder_of_release(release.id), files, target_dir, progress)
    except OSError as err:
        raise store_error_from_os(err, str(target_dir)) from err
    return target_dir


def _check_fetched(release: Release, folder: Path, progress: Progress) -> None:
    """Refuse a folder that is not, file by file, a copy of the release."""
    try:
        files = digest_files({name: folder / name for name in release.files}, progress)
        is_copy = files == release.files and (folder / RELEASE_NAME).read_bytes() == render_release(release)
    except OSError:
        is_copy = False
    if not is_copy:
        raise SpecError(
            f"{folder} exists already and is not a whole copy of {release.id}",
            hint="name a new folder, or an empty one",
        )
    log.info("%s holds %s already: every file was checked", folder, release.id)
