"""The real server decides: it refuses what lint calls an error, and loads what lint does not."""

import pytest
from prep_triton.triton.lint import lint_repository
from prep_triton.triton.server.process import run_triton

from tests.fakes.lint_cases import (
    ONNXRUNTIME_CASES,
    REFUSED_CASES,
    SERVED_CASES,
    graph_config,
    write_graph,
    write_python,
)

pytestmark = pytest.mark.integration


def test_the_server_refuses_what_lint_calls_an_error_and_takes_the_rest(tmp_path):
    repository = tmp_path / "repo"
    write_python(repository, "ok")
    for graph in ONNXRUNTIME_CASES:
        write_graph(repository, graph.name, graph_config(graph.name, tensors=graph.tensors))
    # A path of the server's machine: lint does not look for it, and the stand-in opens it as the backend does.
    library = 'model_operations { op_library_filename: ["/nowhere/ops.so"] }'
    write_graph(repository, "no-library", graph_config("no-library", library))
    for case in (*REFUSED_CASES, *SERVED_CASES):
        case.write(repository)
    report = lint_repository(repository)
    wrong = {finding.path.split("/")[0] for finding in report.errors}
    with run_triton(str(repository)) as server:
        loaded, refused = set(server.loaded), set(server.failures)
    assert refused == {
        "no-library",
        *(case.name for case in REFUSED_CASES),
        *(graph.name for graph in ONNXRUNTIME_CASES),
    }
    assert loaded == {"ok", *(case.name for case in SERVED_CASES)}
    assert wrong == refused - {"no-library"}
