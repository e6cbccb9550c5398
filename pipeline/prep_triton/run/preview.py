"""What assembling would write, from what the workspace holds; makes nothing."""

from prep_triton.artifact import OnnxModel
from prep_triton.errors import RepositoryError
from prep_triton.run.conversion import put_in_precision
from prep_triton.run.stages import find_engines
from prep_triton.spec import EntrySpec
from prep_triton.workspace import NotMadeError, Workspace


def preview_model(model: OnnxModel, spec: EntrySpec, workspace: Workspace) -> tuple[str, str]:
    """Return the name and the config.pbtxt of the entry that `assemble_model` would write.

    Raises:
        RepositoryError: No plan was built, or the graph is not in its precision yet.
        SpecError: The choices do not fit.
    """
    from prep_triton.triton.entries.write import preview_entry

    reader = Workspace(workspace.root, read_only=True)
    engines = find_engines(model, spec, reader) if spec.runtime == "tensorrt" else []
    try:
        graph = put_in_precision(model, spec, reader).artifact
    except NotMadeError as err:
        raise RepositoryError(
            f"the {spec.precision} graph of {model.name} is not made yet, and a dry run makes nothing",
            hint=f"prep build-engine {model.name} --runtime {spec.runtime} --{spec.precision}, or leave --dry-run out",
        ) from err
    if spec.text is not None:
        from prep_triton.triton.entries.text import check_text_request

        check_text_request(graph, spec.text)
    return preview_entry(graph, engines, spec.serving, name=spec.name)
