"""Which plans of a pipeline file belong to which GPU: a plan for Triton is built on the GPU that will serve it.

A fleet of several GPUs is built on several machines, each with `select_plans`; the run of the whole file, on any
machine, finds their plans in the workspace: see `prep_triton.engine.elsewhere.is_built_elsewhere`.
"""

from prep_triton.errors import SpecError
from prep_triton.gpus import Gpu, resolve_gpu
from prep_triton.spec import RunSpec, VariantSpec


def list_plan_gpus(spec: RunSpec) -> list[str]:
    """Return the GPUs that plans are built for, sorted; of several with one architecture the first of the file.

    Raises:
        UnsupportedGpuError: The file names an unknown GPU.
    """
    gpus: dict[str, Gpu] = {}
    for model in spec.models:
        for variant in filter(_has_plans, model.variants):
            for gpu in map(resolve_gpu, variant.gpus):
                gpus.setdefault(gpu.compute_capability, gpu)
    return sorted(gpu.name for gpu in gpus.values())


def select_plans(spec: RunSpec, gpu_name: str) -> RunSpec:
    """Return the part of a file that a machine with a GPU has to build: the variants with plans for it.

    They are the very plans that the whole file asks for. Nothing of the part is published, and one model is made at a
    time: TensorRT chooses kernels by their time, which a neighbour on the GPU would disturb.

    Raises:
        SpecError: The file builds no plan for that GPU.
        UnsupportedGpuError: The GPU is unknown.
    """
    capability = resolve_gpu(gpu_name).compute_capability
    models = []
    for model in spec.models:
        variants = tuple(
            variant.model_copy(update={"gpus": gpus})
            for variant in filter(_has_plans, model.variants)
            if (gpus := _gpus_of_capability(variant, capability))
        )
        if variants:
            models.append(model.model_copy(update={"variants": variants}))
    if not models:
        others = ", ".join(list_plan_gpus(spec))
        raise SpecError(
            f"the config builds no plan for {gpu_name}" + (f", only for {others}" if others else ""),
            hint="name one of those GPUs with --only-gpu" if others else "leave --only-gpu out",
        )
    return spec.model_copy(update={"models": tuple(models), "publish": None, "jobs": 1})


def _has_plans(variant: VariantSpec) -> bool:
    """Whether a variant's engines are built on their GPU: those of TensorRT-RTX are built anywhere."""
    return variant.runtime == "tensorrt" and variant.builder != "tensorrt-rtx"


def _gpus_of_capability(variant: VariantSpec, capability: str) -> tuple[str, ...]:
    return tuple(gpu for gpu in variant.gpus if resolve_gpu(gpu).compute_capability == capability)
