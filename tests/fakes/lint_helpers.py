"""What tests of `prep lint` do to a repository, and how they look at a report."""

from prep_triton.manifest import record_files, save_manifest
from prep_triton.spec import TargetSpec
from prep_triton.target import resolve_target


def codes(report, severity=None):
    return {finding.code for finding in report.findings if severity in {None, finding.severity}}


def only(report, code):
    (finding,) = (finding for finding in report.findings if finding.code == code)
    return finding


def edit_config(folder, old, new):
    path = folder / "config.pbtxt"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def save_manifest_again(entry, folder, **changes):
    """Write the entry's manifest again, over the files as they are."""
    kept = entry.model_copy(update={"folder": folder, "files": record_files(folder), **changes})
    save_manifest(kept, folder)


def target_for(*gpus, triton="25.08", platform="linux/amd64", driver=None):
    return resolve_target(TargetSpec(triton=triton, gpus=gpus, platform=platform, driver=driver))
