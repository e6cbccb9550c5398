"""`prep build-engine`: exported models to TensorRT-family engines."""

from prep_triton.cli.exported import find_exported
from prep_triton.cli.flag_names import flags_named
from prep_triton.cli.groups import expand_groups, list_flags
from prep_triton.cli.options import (
    DEFAULT_WORKSPACE,
    ExportedModelArgument,
    OutputOptions,
    RemoteCacheOption,
    WorkspaceOption,
)
from prep_triton.cli.output import session
from prep_triton.cli.variant_options import VariantOptions, variant_from_flags


@expand_groups
def build_engine(
    model: ExportedModelArgument = None,
    variant: VariantOptions = VariantOptions(),
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    remote_cache: RemoteCacheOption = None,
    output: OutputOptions = OutputOptions(),
) -> None:
    """Build TensorRT engines and prove their precision.

    Builds an engine of each exported model for each GPU.

    \b
    Examples:
      prep build-engine --fp16
      prep build-engine minilm --fp16 --gpu t4 --gpu l4 --profile 1x16,8x128,16x256
      prep build-engine minilm --int8 --calibration-data texts.jsonl --min-cosine 0.99 --gpu t4
      prep build-engine minilm --runtime openvino --int8 --calibration-data texts.txt
      prep build-engine minilm --runtime openvino --bf16
    """
    with session(output) as out:
        from prep_triton.cli.documents.build_engine import BuildDocument, render_build
        from prep_triton.cli.documents.rows import RowPrinter
        from prep_triton.engine.machine import detect_machine
        from prep_triton.run.inputs import check_files
        from prep_triton.run.report import RowCollector
        from prep_triton.run.shared import open_workspace
        from prep_triton.run.variants import build_variant

        store = open_workspace(workspace, remote_cache)
        models = find_exported(store, model, workspace)
        machine = detect_machine(store)
        spec = variant_from_flags(variant, machine.gpus)
        check_files(spec)
        collector = RowCollector(RowPrinter(out))
        with flags_named(list_flags([variant])):
            for exported in models:
                build_variant(collector, exported, spec, store, machine)
        out.show(BuildDocument(rows=tuple(collector.rows)), render_build)
