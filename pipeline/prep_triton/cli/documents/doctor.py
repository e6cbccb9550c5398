"""What `prep doctor` answers."""

from prep_triton.artifact import Record
from prep_triton.cli.output import Output
from prep_triton.run.doctor import Finding


class DoctorDocument(Record):
    """What this machine can do, stage by stage."""

    findings: tuple[Finding, ...]


def render_doctor(out: Output, document: DoctorDocument) -> None:
    """Print a line for each capability."""
    rows = [
        (finding.stage, finding.capability, "yes" if finding.available else "no", finding.detail, finding.hint)
        for finding in document.findings
    ]
    out.table("", ("=stage", "capability", "=here", "detail", "hint"), rows)
