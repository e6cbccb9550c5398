"""A real Triton is started, loaded, asked and ended."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from prep_triton.errors import PrepError, ServerError
from prep_triton.spec import QueueSpec, ServingSpec
from prep_triton.triton.config import render_config
from prep_triton.triton.server.process import run_triton

from scripts.benchmarks.serving_configs import build_config
from scripts.benchmarks.small_artifacts import make_engine, make_model, save_graph

pytestmark = pytest.mark.integration


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:  # it ended in this moment
        return False


def wait_for_end(pids, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and any(map(is_running, pids)):
        time.sleep(0.05)
    return not any(map(is_running, pids))


def family_of(pid):
    """Every process of the server's session: the server and its stubs."""
    pids = []
    for path in Path("/proc").iterdir():
        with suppress(OSError):  # it ended in this moment
            if path.name.isdigit() and os.getsid(int(path.name)) == pid and is_running(path.name):
                pids.append(int(path.name))
    return pids


def add_entry(repository, name, config):
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(render_config(config))
    save_graph(folder / "model.onnx")
    (folder / "model_sm75.plan").write_bytes(b"no plan")


def shared_memory():
    return {path.name for path in Path("/dev/shm").glob("prep-scratch-triton-*")}


@pytest.fixture
def repository(tmp_path):
    model = make_model(tmp_path / "model")
    for name in ("one", "two"):
        add_entry(tmp_path / "repo", name, build_config(name, model, ServingSpec(threads=1)))
    return tmp_path / "repo"


def test_server_ends_with_its_stubs_when_the_body_raises(repository):
    with pytest.raises(RuntimeError, match="the body"), run_triton(str(repository)) as server:
        server.check_loaded()
        assert server.loaded == ("one", "two")
        assert server.version
        family = family_of(server.pid)
        folder = server.log_path.parent
        assert len(family) == 3
        assert any(name.startswith(folder.name) for name in shared_memory())
        raise RuntimeError("the body")
    assert not any(map(is_running, family))
    assert not folder.exists()
    assert not any(name.startswith(folder.name) for name in shared_memory())


def test_killing_the_parent_ends_the_server_and_the_next_one_removes_what_it_left(repository, tmp_path, monkeypatch):
    script = (
        "import sys, time\n"
        "from prep_triton.triton.server.process import run_triton\n"
        "with run_triton(sys.argv[1], entries=['one']) as server:\n"
        "    print(server.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(repository)]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = {**os.environ, "TMPDIR": str(scratch)}  # where the killed parent leaves its folder
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as parent:
        family = family_of(int(parent.stdout.readline()))
        assert len(family) == 2
        parent.send_signal(signal.SIGKILL)
    assert wait_for_end(family)
    (left,) = scratch.glob("prep-*")
    Path("/dev/shm", f"{left.name}-1").touch()  # as a stub leaves it that was killed too
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    with run_triton(str(repository), entries=[]) as living, run_triton(str(repository), entries=[]):
        assert not left.exists()
        assert not any(name.startswith(left.name) for name in shared_memory())
        assert living.log_path.is_file()
    assert not list(scratch.glob("prep-*"))


def test_a_server_that_dies_on_start_shows_its_last_lines(tmp_path, monkeypatch):
    program = tmp_path / "tritonserver"
    program.write_text(
        "#!/bin/sh\necho 'I1123 16:22:43.673799 1 a.cc:1] \"fine\"'\necho 'error: no licence' >&2\nexit 3\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PREP_TRITONSERVER", str(program))
    with (
        pytest.raises(ServerError, match=r"ended with exit status 3; its last lines:\n +error: no licence$") as caught,
        run_triton(str(tmp_path)),
    ):
        pass
    assert "prep doctor" in caught.value.hint


def test_a_server_that_never_answers_is_given_up_and_ended(tmp_path, monkeypatch):
    program = tmp_path / "tritonserver"
    program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\necho still waiting\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PREP_TRITONSERVER", str(program))
    with (
        pytest.raises(ServerError, match=r"not ready within 5 s; its last line: still waiting") as caught,
        run_triton(str(tmp_path), timeout_s=5),
    ):
        pass
    assert "--timeout" in caught.value.hint
    assert not is_running((tmp_path / "pid").read_text().strip())


def test_a_port_that_is_taken_meanwhile_is_replaced(repository, monkeypatch):
    from prep_triton.triton.server import process as room
    from prep_triton.triton.server.ports import choose_ports

    attempts: list[dict[str, int]] = []

    def choose(ports):
        chosen = choose_ports(ports)
        attempts.append(chosen)
        return chosen if len(attempts) > 1 else {**chosen, "grpc": held.http_url.rpartition(":")[2]}

    with run_triton(str(repository), entries=[]) as held:
        monkeypatch.setattr(room, "choose_ports", choose)
        with run_triton(str(repository), entries=[]) as server:
            assert server.grpc_url.endswith(f":{attempts[1]['grpc']}")
    assert len(attempts) == 2


def test_an_unloadable_entry_says_why_and_leaves_the_others_alone(repository, tmp_path):
    (repository / "two" / "1" / "model.onnx").write_bytes(b"no graph")
    model, engine = make_model(tmp_path / "model"), make_engine(tmp_path / "engine")
    add_entry(repository, "plan", build_config("plan", [engine], ServingSpec()))
    gpu = ServingSpec(instance_kind="gpu")
    add_entry(repository, "gpu", build_config("gpu", model, gpu))
    wrong = build_config("wrong", model, ServingSpec())
    wrong.dynamic_batching.priority_levels = 2
    add_entry(repository, "wrong", wrong)
    with run_triton(str(repository)) as server:
        assert server.loaded == ("one",)
        message = dict(server.failures)
    assert "backend 'tensorrt'" in message["plan"]
    assert "default priority level must be in range [1, 2]" in message["wrong"]
    assert "Protobuf parsing failed" in message["two"]
    assert message["gpu"]
    with pytest.raises(ServerError, match="did not load"):
        server.check_loaded()


queues = st.builds(
    lambda delay, sizes, levels, default: QueueSpec(
        max_queue_delay_us=delay,
        preferred_batch_sizes=tuple(sizes),
        priority_levels=levels,
        default_priority_level=min(default, levels),
    ),
    st.integers(0, 1 << 64),
    st.lists(st.integers(1, 32), max_size=3),
    st.integers(0, 1 << 33),
    st.integers(1, 1 << 33),
)
servings = st.builds(
    ServingSpec.model_construct,
    max_batch_size=st.none() | st.integers(1, 1 << 32),
    dynamic_batching=st.none() | queues,
    instance_count=st.integers(1, 3),
    instance_kind=st.none() | st.sampled_from(["cpu", "gpu"]),
    stream_priority=st.sampled_from(["default", "max", "min"]),
    threads=st.none() | st.integers(1, 4),
)


def test_the_server_accepts_every_config_that_we_do_not_refuse(tmp_path):
    model, engine = make_model(tmp_path / "model"), make_engine(tmp_path / "engine")
    accepted: list[str] = []

    @seed(0)
    @settings(max_examples=150, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(servings, st.booleans())
    def draw(serving, is_plan):
        name = f"entry-{len(accepted)}"
        try:
            config = build_config(name, [engine] if is_plan else model, serving)
        except PrepError:
            return
        # No entry loads: what is left to fail, after the configuration was accepted, is the missing backend.
        config.backend = "tensorrt" if is_plan else "absent"
        config.platform = config.platform if is_plan else ""
        add_entry(tmp_path / "repo", name, config)
        accepted.append(name)

    draw()
    assert len(accepted) > 20
    with run_triton(str(tmp_path / "repo")) as server:
        wrong = {
            name: reason for name, reason in server.failures.items() if "unable to find backend library" not in reason
        }
        assert set(server.failures) == set(accepted)
    assert wrong == {}
