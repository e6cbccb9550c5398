"""What `prep bench` measures: a repository, a release, or of a pipeline file what this machine can serve."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from prep_triton.artifact import RepositoryEntry
from prep_triton.errors import GpuMissingError, RepositoryMissingError, SpecError
from prep_triton.gpus import find_present_gpus
from prep_triton.run.names import name_of_model, names_of_variant
from prep_triton.run.serving import ServedRepository, find_served
from prep_triton.spec import RunSpec, VariantSpec, load_run_spec

if TYPE_CHECKING:
    from prep_triton.bench.records import NotMeasured

_FILE_SUFFIXES = (".yaml", ".yml")
_NEEDS_GPU = "needs an NVIDIA GPU"


@dataclass(frozen=True)
class BenchTarget:
    """What is measured.

    `served` is None of a server alone. Of a pipeline file, `names` are the entries that it makes, and `variants` its
    rows, each with why it is not measured, empty where it is.
    """

    served: ServedRepository | None
    names: frozenset[str] | None = None
    variants: "tuple[NotMeasured, ...]" = ()

    def check_entries(self, names: Sequence[str]) -> None:
        """Refuse entries of a pipeline file that cannot be measured.

        Raises:
            SpecError: One cannot; says why.
        """
        reasons = {name: row.reason for row in self.variants for name in row.names if row.reason}
        for name in names:
            if name in reasons:
                raise SpecError(f"{name} is not measured here: {reasons[name]}", hint="leave it out of --entry")

    def rows_without(
        self, measured: Sequence[str], failures: Mapping[str, str], otherwise: str
    ) -> "tuple[NotMeasured, ...]":
        """Return the variants of which no entry was measured.

        Args:
            measured: The entries that were.
            failures: Of entries that did not load, why not.
            otherwise: The reason of the others.
        """
        rows = [row for row in self.variants if not set(row.names) & set(measured)]
        reasons = [row.reason or failures.get(row.entry) or otherwise for row in rows]
        return tuple(
            row.model_copy(update={"reason": " ".join(reason.split())})
            for row, reason in zip(rows, reasons, strict=True)
        )


SERVER_ALONE = BenchTarget(None)


def is_pipeline_file(target: str) -> bool:
    """Whether a target is a pipeline file; it need not be there."""
    return "://" not in target and Path(target).suffix in _FILE_SUFFIXES


def find_target(target: str | None, release: str | None, server: str | None) -> BenchTarget:
    """Find what a target means.

    Args:
        target: A repository, a release, a store or a pipeline file; None where a running server alone is named.
        release: Which release of a store.
        server: The running server, which may serve what this machine cannot.

    Raises:
        SpecError: The file is wrong, or this machine serves nothing of it.
        RepositoryMissingError: There is no such repository, or nothing of the file is assembled.
    """
    if target is None:
        return SERVER_ALONE
    if not is_pipeline_file(target):
        return BenchTarget(find_served(target, release))
    if release is not None:
        raise SpecError(
            f"--release {release} names a release, and {target} is a pipeline file",
            hint="name the store: gs://BUCKET/PREFIX or a folder of releases",
        )
    return target_from_spec(load_run_spec(Path(target)), target, server)


def target_from_spec(spec: RunSpec, file: str, server: str | None) -> BenchTarget:
    """Return what of a pipeline file's repository can be measured; see `find_target`."""
    missing = f"not assembled: prep run {shlex.quote(file)}"
    try:
        served = find_served(spec.repository)
    except RepositoryMissingError as err:
        if server is None:
            raise _nothing_assembled(spec, file) from err
        served = ServedRepository(spec.repository, (), ())
    by_name = {entry.name: entry for entry in served.entries}
    variants = tuple(_list_variants(spec, by_name, missing))
    if server is None and not any(row.entry in by_name for row in variants):
        raise _nothing_assembled(spec, file)
    return _choose(served, variants, file, server)


def target_from_entries(spec: RunSpec, entries: Sequence[RepositoryEntry]) -> BenchTarget:
    """Return what of the entries that a run made can be measured.

    Raises:
        GpuMissingError: This machine serves none of them.
    """
    names = {entry.name for entry in entries}
    served = find_served(spec.repository)
    served = replace(served, entries=[entry for entry in served.entries if entry.name in names])
    variants = tuple(_list_variants(spec, {entry.name: entry for entry in served.entries}, "not made in this run"))
    return _choose(served, variants, "what was made", spec.verify.server_url)


def _choose(
    served: ServedRepository, variants: "tuple[NotMeasured, ...]", what: str, server: str | None
) -> BenchTarget:
    names = frozenset(name for row in variants for name in row.names)
    if server is not None:  # what it serves it has loaded, whatever this machine has
        return BenchTarget(served, names, tuple(row.model_copy(update={"reason": ""}) for row in variants))
    able = {row.entry for row in variants if not row.reason}
    if not able:
        reasons = "; ".join(f"{row.entry}: {row.reason}" for row in variants)
        raise GpuMissingError(
            f"this machine serves nothing of {what}: {reasons}",
            hint="name a server that does: prep bench --server HOST:PORT",
        )
    entries = [entry for entry in served.entries if able & {entry.name, entry.serves}]
    return BenchTarget(replace(served, entries=entries), names, variants)


def _nothing_assembled(spec: RunSpec, file: str) -> RepositoryMissingError:
    return RepositoryMissingError(
        f"nothing of {file} is assembled in {spec.repository}", hint=f"make it: prep run {shlex.quote(file)}"
    )


def _list_variants(spec: RunSpec, entries: Mapping[str, RepositoryEntry], missing: str) -> "Iterator[NotMeasured]":
    """Yield a row for each variant that makes an entry, with why this machine cannot serve it, if it cannot."""
    from prep_triton.bench.records import NotMeasured

    has_gpu = bool(find_present_gpus())
    for model in spec.models:
        model_name = name_of_model(model)
        for variant in model.variants:
            candidates = sorted(names_of_variant(variant, model_name))
            name = next((name for name in candidates if name in entries), candidates[0] if candidates else "")
            yield NotMeasured(
                entry=name or f"{model_name} ({variant.builder})",
                model=model_name,
                precision=variant.precision,
                runtime=variant.runtime,
                reason=_reason_against(variant, entries.get(name), missing, has_gpu=has_gpu)
                if name
                else "TensorRT-RTX engines, which no Triton backend loads",
            )


def _reason_against(variant: VariantSpec, entry: RepositoryEntry | None, missing: str, *, has_gpu: bool) -> str:
    from prep_triton.target import needs_gpu

    if entry is None:
        if variant.runtime == "tensorrt" and not has_gpu:
            return f"{_NEEDS_GPU}: its plans are built on {' or '.join(variant.gpus)}"
        return missing
    return _NEEDS_GPU if needs_gpu(entry) and not has_gpu else ""
