"""A gRPC server that speaks Triton's protocol and gives one fixed answer, of whatever form."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

MODEL = "e-text"


@contextmanager
def serve_answer(output: str | None, datatype: str, shape: Sequence[int], raw: bytes) -> Iterator[str]:
    """Serve a text model with one output, and answer every request with it; None answers without it.

    Yields:
        The server's address.
    """
    config = model_config_pb2.ModelConfig(name=MODEL, max_batch_size=1)
    config.input.add().name = "TEXT"
    config.output.add(name=output or "EMBEDDING", dims=[-1])
    answer = service_pb2.ModelInferResponse(model_name=MODEL)
    if output is not None:
        answer.raw_output_contents.append(raw)
        answer.outputs.add(name=output, datatype=datatype, shape=shape)
    index = service_pb2.RepositoryIndexResponse()
    index.models.add(name=MODEL, state="READY")
    statistics = service_pb2.ModelStatisticsResponse()
    statistics.model_stats.add().inference_stats.success.count = 1
    answers = {
        "ServerMetadata": service_pb2.ServerMetadataResponse(version="0"),
        "RepositoryIndex": index,
        "ModelConfig": service_pb2.ModelConfigResponse(config=config),
        "ModelStatistics": statistics,
        "ModelInfer": answer,
    }
    methods = {name: staticmethod(_returning(message)) for name, message in answers.items()}
    servicer = type("Servicer", (service_pb2_grpc.GRPCInferenceServiceServicer,), methods)()
    server = grpc.server(ThreadPoolExecutor(2))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def _returning(message: Any) -> Callable[[Any, Any], Any]:
    return lambda _request, _context: message
