"""What a workspace asks of a cache that it shares with other machines; `run` opens one, see `publish.cache`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from prep_triton.artifact import Artifact

A = TypeVar("A", bound=Artifact)


class RemoteCache(Protocol):
    """Artifacts by stage, name and key, which several machines read and write at once.

    No method raises what is the cache's own fault: what cannot be read counts as absent, and what cannot be written
    stays here alone, with a warning.
    """

    @property
    def uri(self) -> str:
        """Where it is."""

    def fetch(self, stage: str, name: str, key: str, artifact_type: type[A], folder: Path) -> A | None:
        """Copy an artifact into an empty folder, every file held against its digest.

        Returns:
            The artifact; None where there is none, or it is damaged: then the folder may hold a part of it.
        """

    def save(self, stage: str, artifact: Artifact) -> None:
        """Copy an artifact there, unless it is there."""

    def list_names(self, stage: str) -> list[str]:
        """Return the names of a stage."""

    def list_kept(self, stage: str, name: str, artifact_type: type[A]) -> Iterator[A]:
        """Yield what manifests say of every artifact of a name, newest first; none of their files is here."""
