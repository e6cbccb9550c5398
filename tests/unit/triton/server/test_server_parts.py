import importlib.util
import os
import shutil
import socket
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
from prep_triton.errors import RepositoryError, ServerError, SpecError
from prep_triton.onnx_file import save_with_weights
from prep_triton.triton.server import installation, served_copy
from prep_triton.triton.server.client import TritonClient, grpc_address_from_url
from prep_triton.triton.server.environment import server_environment
from prep_triton.triton.server.installation import (
    SERVER_VARIABLE,
    Installation,
    describe_server,
    find_server,
    prepare_installation,
)
from prep_triton.triton.server.log import parse_errors, parse_refusals
from prep_triton.triton.server.ports import Ports, choose_ports
from prep_triton.triton.server.process import RunningTriton, run_triton
from prep_triton.triton.server.served_copy import lay_out_repository

from tests.fakes.onnx_bert import make_bert, make_feed, run_onnx

LOG = """\
I1123 16:22:43.673799 4642 cache_manager.cc:480] "Create CacheManager"
E1123 16:22:43.673900 4642 server.cc:241] "CudaDriverHelper has not been initialized."
E1123 16:22:44.000000 4642 model_repository_manager.cc:1460] "Poll failed for model directory 'bad': no levels"
Error: Failed to initialize NVML
error: creating server: Internal - failed to stat file /none
"""


def test_log_errors_lose_their_prefix_and_the_noise():
    assert parse_errors(LOG) == [
        "Poll failed for model directory 'bad': no levels",
        "error: creating server: Internal - failed to stat file /none",
    ]


def test_an_argument_that_the_server_does_not_know_is_not_lost_in_its_usage_text():
    usage = "\n".join(f"  --option-{index} <string>" for index in range(20))
    text = f"/bin/tritonserver: unrecognized option '--nonsense=1'\nUsage: tritonserver [options]\n{usage}\n"
    assert parse_errors(text) == ["/bin/tritonserver: unrecognized option '--nonsense=1'"]


def test_a_log_without_errors_gives_its_last_lines():
    assert parse_errors("one\n\ntwo\nthree\n", limit=2) == ["two", "three"]


def test_refusals_are_found_by_entry():
    assert parse_refusals(LOG) == {"bad": "no levels"}


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("localhost", "localhost:8001"),
        ("localhost:9", "localhost:9"),
        ("http://10.0.0.1:8001/", "10.0.0.1:8001"),
        ("grpc://triton:8001", "triton:8001"),
        ("[::1]:8001", "[::1]:8001"),
    ],
)
def test_server_url_becomes_an_address(url, address):
    assert grpc_address_from_url(url) == address


@pytest.mark.parametrize("url", ["", "http://", ":8001", "host:port", "host:99999", "[::1"])
def test_what_is_no_server_url_is_refused(url):
    with pytest.raises(SpecError, match="is not the address of a server") as caught:
        grpc_address_from_url(url)
    assert "HOST:PORT" in caught.value.hint


def test_an_unreachable_server_is_named():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    with TritonClient(address, timeout_s=2) as client:
        with pytest.raises(ServerError, match=f"no Triton answers at {address}") as caught:
            client.server_version()
        assert "8001" in caught.value.hint
        with pytest.raises(ServerError, match="cannot list its repository"):
            client.list_entries()


def test_a_chosen_server_wins_and_has_to_be_a_program(monkeypatch, tmp_path):
    monkeypatch.setenv(SERVER_VARIABLE, sys.executable)
    assert str(find_server()) == sys.executable
    assert describe_server() == f"tritonserver at {sys.executable}"
    assert prepare_installation(tmp_path, shm_prefix="x").arguments == ()
    monkeypatch.setenv(SERVER_VARIABLE, str(tmp_path / "none"))
    with pytest.raises(ServerError, match="which is not a program") as caught:
        find_server()
    assert SERVER_VARIABLE in caught.value.hint


def test_a_server_on_path_is_found(monkeypatch, tmp_path):
    monkeypatch.delenv(SERVER_VARIABLE, raising=False)
    shutil.copy("/bin/true", tmp_path / "tritonserver")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server() == tmp_path / "tritonserver"


def test_no_server_at_all_says_how_to_get_one(monkeypatch, tmp_path):
    monkeypatch.delenv(SERVER_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ServerError, match="no Triton server was found") as caught:
        prepare_installation(tmp_path, shm_prefix="x")
    assert "pip install 'prep-triton[local]'" in caught.value.hint
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))
    with pytest.raises(ServerError) as caught:
        prepare_installation(tmp_path, shm_prefix="x")
    assert "a Python below 3.13" in caught.value.hint
    with pytest.raises(ServerError, match="numpy"):
        installation._package_root("numpy")


def test_a_wheel_without_this_python_names_the_ones_it_has(monkeypatch, tmp_path):
    (tmp_path / "tritonserver/python_backend_stubs/3.8").mkdir(parents=True)
    origin = str(tmp_path / "__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: ModuleSpec(name, None, origin=origin))
    with pytest.raises(ServerError, match="no Python backend for Python 3") as caught:
        installation._find_wheel()
    assert caught.value.hint == "use a Python of 3.8"


def test_a_taken_port_is_named_before_anything_starts(tmp_path):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with (
            pytest.raises(ServerError, match=f"the grpc port {port} cannot be used: Address already in use") as caught,
            run_triton(str(tmp_path), ports=Ports(grpc=port)),
        ):
            pass
    assert "so that a free one is taken" in caught.value.hint
    with pytest.raises(ServerError, match="the http port 70000 cannot be used"):
        choose_ports(Ports(http=70000))


def test_a_missing_repository_is_named():
    with pytest.raises(RepositoryError, match="is not a folder") as caught, run_triton("no/such/folder"):
        pass
    assert "prep assemble" in caught.value.hint


@pytest.mark.parametrize(("given", "expected"), [("http://h:1", "http://h:1"), ("h:1", "http://h:1"), (None, None)])
def test_the_storage_emulator_is_passed_on(monkeypatch, tmp_path, given, expected):
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    if given:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", given)
    environment = server_environment(Installation(tmp_path, "a test"), "gs://bucket/models", tmp_path)
    assert environment.get("CLOUD_STORAGE_EMULATOR_ENDPOINT") == expected


def test_entries_that_did_not_load_are_named(tmp_path):
    running = RunningTriton("", "", "", "2.51.0", "a test", 1, tmp_path, failures={"a": "no backend"})
    with pytest.raises(ServerError, match=r"Triton 2\.51\.0 did not load a: no backend") as caught:
        running.check_loaded()
    assert "assemble" in caught.value.hint


def test_a_server_gets_no_secret_and_credentials_only_for_a_bucket(monkeypatch, tmp_path):
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.setenv(name, "secret")
    installation = Installation(tmp_path, "a test", environment={"PYTHONPATH": "packages"})
    local = server_environment(installation, str(tmp_path), tmp_path)
    remote = server_environment(installation, "gs://bucket/models", tmp_path)
    assert "secret" not in local.values()
    assert [name for name, value in remote.items() if value == "secret"] == ["GOOGLE_APPLICATION_CREDENTIALS"]
    assert (local["PATH"], local["PYTHONPATH"]) == (os.environ["PATH"], "packages")


def test_what_a_server_writes_beside_python_code_stays_out_of_the_repository(tmp_path):
    repository = tmp_path / "a repository"
    for name, file in (("tokenizer", "model.py"), ("bert", "model.onnx")):
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "1" / file).write_text(name)
    (repository / "tokenizer" / "1" / "__pycache__").mkdir()
    served = Path(lay_out_repository(repository, tmp_path / "served"))
    assert (served / "bert").resolve() == repository / "bert"
    assert (served / "tokenizer" / "1" / "model.py").read_text() == "tokenizer"
    (served / "tokenizer" / "1" / "left-behind").touch()
    assert [path.name for path in (repository / "tokenizer" / "1").iterdir() if path.is_file()] == ["model.py"]
    assert not (served / "tokenizer" / "1" / "__pycache__").exists()


def test_a_graph_beside_python_code_is_served_with_the_weights_beside_it(tmp_path, monkeypatch):
    """ONNX Runtime refuses weights that a link leads to, unless the graph is a link to the same folder."""
    monkeypatch.setattr(served_copy, "COPY_LIMIT_BYTES", 10_000)
    version = tmp_path / "repository" / "bert" / "1"
    version.mkdir(parents=True)
    (version / "helper.py").touch()
    save_with_weights(make_bert(layers=1), (), version / "model.onnx", one_file_bytes=4096)
    assert (version / "model.onnx.data").stat().st_size > 10_000
    served = Path(lay_out_repository(tmp_path / "repository", tmp_path / "served")) / "bert" / "1"
    assert not (served / "helper.py").is_symlink()
    np.testing.assert_array_equal(
        run_onnx(served / "model.onnx", make_feed()), run_onnx(version / "model.onnx", make_feed())
    )
