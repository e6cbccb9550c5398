"""`ModelOptimizationPolicy`, parameters, version policy and cache of model_config.proto."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from prep_triton.artifact import Engine
from prep_triton.errors import SpecError
from prep_triton.layout import VERSION_DIR
from prep_triton.spec import ServingSpec
from prep_triton.triton.config.instances import kind_of
from prep_triton.triton.config.parameters import PROVIDERS_OF_FIELD
from prep_triton.triton.config.rules import find_provider_problem
from prep_triton.triton.config.shapes import dims_at_length, usual_batch_sizes

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig


def fill_tensorrt_options(config: "ModelConfig", engines: Sequence[Engine], serving: ServingSpec) -> None:
    """Write what the TensorRT backend reads: stream priority, CUDA graphs, output stream, eager batching.

    A CUDA graph is for one shape: one is captured for each length bucket at the batches that its profile is
    tuned for, at batch 1, and at the preferred sizes. Other shapes are launched as without graphs.
    """
    optimization = config.optimization
    if serving.stream_priority != "default":
        optimization.priority = f"PRIORITY_{serving.stream_priority.upper()}"
    if serving.eager_batching:
        optimization.eager_batching = True
    if serving.output_copy_stream:
        optimization.cuda.output_copy_stream = True
    if not serving.cuda_graphs:
        return
    optimization.cuda.graphs = True
    for bucket in serving.length_buckets:
        for batch in usual_batch_sizes(engines, serving, bucket):
            spec = optimization.cuda.graph_spec.add(batch_size=batch)
            for tensor in engines[0].model_inputs:
                spec.input[tensor.name].dim.extend(dims_at_length(tensor, bucket))


def fill_onnxruntime_options(config: "ModelConfig", serving: ServingSpec) -> None:
    """Write what the ONNX Runtime backend reads: threads, graph optimizer, execution providers.

    Raises:
        SpecError: A GPU's provider without an instance on a GPU, or threads that are given twice.
    """
    if serving.graph_level is not None:
        config.optimization.graph.level = serving.graph_level
    kinds = {kind_of(group, "onnxruntime") for group in serving.groups()}
    for accelerator in serving.execution_accelerators:
        is_for_gpu = accelerator.name in PROVIDERS_OF_FIELD["gpu_execution_accelerator"]
        problem = find_provider_problem(accelerator.name, is_for_gpu=is_for_gpu, has_gpu_instance="gpu" in kinds)
        if problem:
            raise SpecError(problem, hint="write instance_kind: gpu, or use openvino, which is the CPU's")
        providers = config.optimization.execution_accelerators
        repeated = providers.gpu_execution_accelerator if is_for_gpu else providers.cpu_execution_accelerator
        repeated.add(name=accelerator.name, parameters=accelerator.parameters)
    for name, value in _thread_parameters(serving).items():
        if serving.parameters.get(name, value) != value:
            raise SpecError(
                f"parameters.{name} is '{serving.parameters[name]}', but threads or inter_op_threads make it '{value}'",
                hint=f"remove parameters.{name}",
            )
        config.parameters[name].string_value = value


def _thread_parameters(serving: ServingSpec) -> dict[str, str]:
    """Return the parameters of onnxruntime_backend (README, "Model Config Options") that the threads become."""
    parameters = {}
    if serving.threads:
        parameters["intra_op_thread_count"] = str(serving.threads)
    if serving.inter_op_threads:
        # ONNX Runtime reads the count in its parallel mode alone.
        parameters |= {"inter_op_thread_count": str(serving.inter_op_threads), "execution_mode": "1"}
    return parameters


def fill_shared_options(config: "ModelConfig", serving: ServingSpec) -> None:
    """Write what the server itself reads: version policy, response cache, and the user's parameters.

    Raises:
        SpecError: A version is named that an entry never has.
    """
    policy = serving.version_policy
    if policy and policy.specific:
        if policy.specific != (int(VERSION_DIR),):
            raise SpecError(
                f"version_policy.specific {list(policy.specific)} was asked for, but an entry has "
                f"version {VERSION_DIR} alone",
                hint=f"write specific: [{VERSION_DIR}], or publish: every release is a version of its own",
            )
        config.version_policy.specific.versions.extend(policy.specific)
    elif policy and policy.latest:
        config.version_policy.latest.num_versions = policy.latest
    elif policy:
        config.version_policy.all.SetInParent()
    if serving.response_cache:
        config.response_cache.enable = True
    for name, value in serving.parameters.items():
        config.parameters[name].string_value = value
