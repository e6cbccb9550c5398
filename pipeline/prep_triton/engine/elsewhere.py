"""Plans that other machines built: a plan is built on its own GPU, so a fleet of several is built on several machines.

One of them, or one without a GPU, gathers their workspaces (copied into one folder) and ships them.
"""

import json
import logging

from prep_triton.artifact import Engine, OnnxModel
from prep_triton.engine.machine import Machine
from prep_triton.engine.request import describe_request, name_engine
from prep_triton.errors import EngineError
from prep_triton.gpus import resolve_gpu
from prep_triton.spec import EngineSpec
from prep_triton.workspace import Workspace

log = logging.getLogger(__name__)


def is_built_elsewhere(spec: EngineSpec, machine: Machine) -> bool:
    """Whether a machine cannot build a plan, and its workspace holds plans for that GPU from one that can."""
    if spec.builder != "tensorrt":
        return False
    capability = resolve_gpu(spec.gpu, machine.gpus).compute_capability
    if machine.has_capability(capability) and machine.problems["tensorrt"] is None:
        return False
    return any(plan.compute_capability == capability for plan in machine.plans)


def find_built_elsewhere(model: OnnxModel, spec: EngineSpec, workspace: Workspace, machine: Machine) -> Engine:
    """Return the plan that another machine built for this very request.

    Raises:
        EngineError: The plan in the workspace is of another graph, or was built with other options.
    """
    gpu = resolve_gpu(spec.gpu, machine.gpus)
    name = name_engine(model, spec, gpu, "tensorrt")
    request = json.loads(json.dumps(describe_request(model, spec, gpu, "tensorrt")))  # as a manifest holds it

    def is_meant(plan: Engine) -> bool:
        return plan.inputs.get("onnx") == model.key and plan.spec == request

    plan = next((plan for plan in machine.plans if plan.name == name and is_meant(plan)), None)
    if plan is None:  # the name may have meant it before
        kept = workspace.list_kept("engine", name, Engine)
        plan = next(filter(is_meant, kept), None)
    if plan is None:
        problem = "is of another graph or of other options" if kept else "is missing"
        raise EngineError(
            f"{name} cannot be built here, and the one that was built elsewhere {problem} in {workspace.root}",
            hint=f"on a machine with a {gpu.name}, with the same file and the same versions: prep run FILE --only-gpu "
            f"{gpu.name}; then copy its workspace here",
        )
    log.info("%s was built by TensorRT %s on another machine", name, plan.builder_version)
    return plan
