"""Plans that other machines built: a plan is built on its own GPU, so a fleet of several is built on several machines.

One of them, or one without a GPU, gathers their workspaces (copied into one folder, or shared in a remote cache) and
ships them.
"""

import json
import logging

from prep_triton.artifact import Engine, OnnxModel
from prep_triton.engine.machine import Machine
from prep_triton.engine.request import describe_request, is_plan_name, name_engine
from prep_triton.errors import EngineError
from prep_triton.gpus import resolve_gpu
from prep_triton.spec import EngineSpec
from prep_triton.workspace import Workspace

log = logging.getLogger(__name__)


def is_built_elsewhere(spec: EngineSpec, machine: Machine) -> bool:
    """Whether a machine cannot build a plan, and its workspace or remote cache holds plans of one that can."""
    if spec.builder != "tensorrt":
        return False
    gpu = resolve_gpu(spec.gpu, machine.gpus)
    capability = gpu.compute_capability
    if machine.has_capability(capability) and machine.problems["tensorrt"] is None:
        return False
    is_here = any(plan.compute_capability == capability for plan in machine.plans)
    return is_here or any(is_plan_name(name, gpu) for name in machine.remote_names)


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
    if plan is None:  # the name may have meant it before, or it is in the remote cache
        plan = workspace.find_kept("engine", name, Engine, is_meant)
    if plan is None:
        is_there = name in machine.remote_names or workspace.list_kept("engine", name, Engine)
        problem = "is of another graph or of other options" if is_there else "is missing"
        places = " and ".join([str(workspace.root), *([workspace.remote.uri] if workspace.remote else [])])
        raise EngineError(
            f"{name} cannot be built here, and the one that was built elsewhere {problem} in {places}",
            hint=f"on a machine with a {gpu.name}, with the same file and the same versions: prep run FILE --only-gpu "
            f"{gpu.name}; then copy its workspace here, or share one: --remote-cache URI",
        )
    log.info("%s was built by TensorRT %s on another machine", name, plan.builder_version)
    return plan
