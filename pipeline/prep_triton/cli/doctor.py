"""`prep doctor`: what this machine can and cannot do."""

from prep_triton.cli import output
from prep_triton.cli.options import DEFAULT_WORKSPACE, JsonOption, VerboseOption, WorkspaceOption


def doctor(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE, json: JsonOption = False, verbose: VerboseOption = 0
) -> None:
    """Say, stage by stage, what this machine can do, and the remedy for each thing that it cannot.

    \b
    Examples:
      prep doctor
      prep doctor --json
    """
    with output.session(as_json=json, verbose=verbose) as out:
        from prep_triton.run.doctor import examine_machine

        findings = examine_machine(workspace)
        out.document({"findings": [finding.model_dump(mode="json") for finding in findings]})
        rows = [
            (finding.stage, finding.capability, "yes" if finding.available else "no", finding.found, finding.hint)
            for finding in findings
        ]
        out.table("", ("stage", "can it", "", "found", "hint"), rows)
