"""The model hub: which commit a name means, and a folder of its files.

Its client honours HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE. It is light: no torch, no transformers.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prep_triton.errors import ModelMissingError, SourceError
from prep_triton.export.folder import CHECKPOINT_FILES, CONFIG_NAME, PICKLE_FILES
from prep_triton.export.sentence_transformers import MODULES_NAME, PROMPTS_NAME

log = logging.getLogger(__name__)

# A person waits for this answer: the hub is there within seconds or it is not there.
TIMEOUT_S = 5.0

_WITHOUT_HUB = "name a local folder instead, or say --weights random for a benchmark"


def fetch_config(repo: str, revision: str | None) -> Path:
    """Return a local folder with a repository's config.json; the folder is named after the commit.

    Where the hub cannot be reached, the commit that its local cache holds is taken, and said.

    Args:
        repo: ``organization/name``.
        revision: A branch, tag or commit; None is the default branch.

    Raises:
        SourceError: No such repository, revision or file, no access, or the hub cannot be reached.
    """
    cached = _find_cached_config(repo, revision)
    if cached is not None and revision == cached.name:
        return cached  # a commit never changes
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    try:
        HfApi().model_info(repo, revision=revision, timeout=TIMEOUT_S)
    except (HTTPError, OSError, ValueError) as err:
        refused = isinstance(err, HfHubHTTPError) and err.response.status_code < 500
        if cached is None or refused:
            with translate_hub_errors(repo, revision):
                raise
        log.warning("the model hub cannot be reached; using the cached commit %s of %s", cached.name[:12], repo)
        return cached
    with translate_hub_errors(repo, revision), _silence_client():
        # By its revision, not its commit: so the cache learns what the revision means.
        return Path(HfApi().hf_hub_download(repo, CONFIG_NAME, revision=revision, etag_timeout=TIMEOUT_S)).parent


def fetch_declarations(repo: str, commit: str) -> None:
    """Put what a repository of sentence-transformers says of itself beside its config.json, where it has such files.

    What a commit does not have is asked for once: the client's cache remembers it. A hub that cannot be reached, or
    refuses, is no error here: what its cache has was fetched with the weights, and without these the export ends.
    """
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import RemoteEntryNotFoundError

    for name in (MODULES_NAME, PROMPTS_NAME):
        if try_to_load_from_cache(repo, name, revision=commit) is not None:
            continue
        try:
            with _silence_client():
                HfApi().hf_hub_download(repo, name, revision=commit, etag_timeout=TIMEOUT_S)
        except RemoteEntryNotFoundError:
            continue
        except OSError:
            return


def fetch_folder(repo: str, commit: str) -> Path:
    """Download what an export needs, config, safetensors and vocabulary, and return the folder.

    Raises:
        SourceError: The hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi

    is_cache_all = not _is_reachable(repo, commit)

    def download(patterns: list[str]) -> Path:
        with translate_hub_errors(repo, commit), _silence_client():
            path = HfApi().snapshot_download(
                repo,
                revision=commit,
                allow_patterns=patterns,
                etag_timeout=TIMEOUT_S,
                local_files_only=is_cache_all,
            )
        return Path(path)

    folder = download([*CHECKPOINT_FILES])
    if any(folder.glob("*.safetensors")):
        return folder
    return download([*PICKLE_FILES])  # of a repository that has both, they would double the download


def _is_reachable(repo: str, commit: str) -> bool:
    """Ask once, briefly: a download from a hub that does not answer is retried for minutes."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError

    try:
        HfApi().model_info(repo, revision=commit, timeout=TIMEOUT_S)
    except (HTTPError, OSError, ValueError):
        return False
    return True


@contextmanager
def translate_hub_errors(repo: str, revision: str | None) -> Iterator[None]:
    """Turn the hub client's exceptions into sentences with a remedy.

    Raises:
        SourceError: Whatever the hub said.
    """
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as err:
        raise SourceError(
            f"the hub repository {repo} is gated and this account has no access to it",
            hint="ask for access on its page and log in with: hf auth login",
        ) from err
    except errors.RepositoryNotFoundError as err:
        raise ModelMissingError(
            f"the model hub has no public repository {repo}",
            hint="check the spelling; for a private one log in with: hf auth login",
        ) from err
    except errors.RevisionNotFoundError as err:
        raise ModelMissingError(f"{repo} has no revision '{revision}'", hint="check --revision") from err
    except errors.RemoteEntryNotFoundError as err:
        raise SourceError(
            f"{repo} has no {CONFIG_NAME}", hint="choose a repository that save_pretrained() wrote"
        ) from err
    except errors.HFValidationError as err:
        raise ModelMissingError(f"'{repo}' is not a hub id: {err}", hint="a hub id is organization/name") from err
    except errors.OfflineModeIsEnabled as err:
        raise SourceError(
            f"{repo} is not in the local cache, and HF_HUB_OFFLINE is set",
            hint=f"unset HF_HUB_OFFLINE, {_WITHOUT_HUB}",
        ) from err
    except errors.HfHubHTTPError as err:
        raise SourceError(
            f"the model hub refused {repo}: HTTP {err.response.status_code}",
            hint=f"check HF_ENDPOINT, or {_WITHOUT_HUB}",
        ) from err
    except (errors.HTTPError, errors.LocalEntryNotFoundError, OSError) as err:
        reason = str(err).splitlines()[0] if str(err) else type(err).__name__
        raise SourceError(f"the model hub cannot be reached for {repo}: {reason}", hint=_WITHOUT_HUB) from err


def _find_cached_config(repo: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        path = try_to_load_from_cache(repo, CONFIG_NAME, revision=revision)
    except HFValidationError:
        return None
    return Path(path).parent if isinstance(path, str) else None


@contextmanager
def _silence_client() -> Iterator[None]:
    """Silence the client's own progress bars and retry notices: the command line draws a bar and reports the error."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    client_log = logging.getLogger("huggingface_hub")
    level, were_disabled = client_log.level, are_progress_bars_disabled()
    client_log.setLevel(logging.ERROR)
    disable_progress_bars()
    try:
        yield
    finally:
        client_log.setLevel(level)
        if not were_disabled:
            enable_progress_bars()
