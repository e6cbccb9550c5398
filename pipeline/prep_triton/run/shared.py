"""The workspace of a command, with the cache that it shares with other machines."""

from pathlib import Path

from prep_triton.errors import PrepError
from prep_triton.workspace import Workspace


def open_workspace(root: Path, remote_uri: str | None = None, *, read_only: bool = False) -> Workspace:
    """Open a workspace, and look whether its remote cache is there: one that fails later only warns.

    Args:
        root: The folder.
        remote_uri: ``gs://bucket/prefix`` or a folder; None for no cache.
        read_only: Make nothing, for a dry run.

    Raises:
        SpecError: It is not the URI of a store.
        StoreError: There is no such bucket, or this account may not read it.
    """
    if not remote_uri:
        return Workspace(root, read_only=read_only)
    from prep_triton.publish.cache import StoredCache

    remote = StoredCache(remote_uri)
    try:
        remote.check_access()
    except PrepError as err:
        message = f"the remote cache {remote.uri} cannot be used: {err.message}"
        hint = f"{err.hint}; or leave --remote-cache out (PREP_REMOTE_CACHE, workspace.remote)"
        raise type(err)(message, hint=hint) from err
    return Workspace(root, read_only=read_only, remote=remote)


def check_remote_uri(remote_uri: str | None) -> None:
    """Refuse what cannot be the URI of a remote cache; touches nothing.

    Raises:
        SpecError: It is none.
    """
    from prep_triton.publish.uri import check_store_uri

    if remote_uri:
        check_store_uri(remote_uri)
