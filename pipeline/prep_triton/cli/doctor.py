"""`prep doctor`: what this machine can and cannot do."""

from prep_triton.cli.groups import expand_groups
from prep_triton.cli.options import DEFAULT_WORKSPACE, OutputOptions, WorkspaceOption
from prep_triton.cli.output import session


@expand_groups
def doctor(workspace: WorkspaceOption = DEFAULT_WORKSPACE, output: OutputOptions = OutputOptions()) -> None:
    """Check what this machine can do, stage by stage.

    Each thing that it cannot do comes with a remedy.

    \b
    Examples:
      prep doctor
      prep doctor --json
    """
    with session(output) as out:
        from prep_triton.cli.documents.doctor import DoctorDocument, render_doctor
        from prep_triton.run.doctor import examine_machine

        out.show(DoctorDocument(findings=tuple(examine_machine(workspace))), render_doctor)
