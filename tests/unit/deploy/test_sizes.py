"""What a server takes: of its release's bytes, its instances and its Python parts."""

import pytest
from prep_triton.artifact import FileRecord, TensorSpec
from prep_triton.deploy.sizes import Sizes, measure_release

from scripts.benchmarks.records import make_graph
from tests.fakes.served_release import MIB, make_entry, make_plan, make_release


def measure(*entries, **fields) -> Sizes:
    return measure_release(make_release(*entries, **fields))


def make_fill_mask(instances: int = 1):
    """A model whose post-processor is handed [batch, sequence, vocabulary] numbers, and that post-processor."""
    logits = TensorSpec(name="logits", dtype="FP32", shape=("batch", "sequence", 30522))
    graph = make_graph(model_inputs=(), model_outputs=(logits,))
    model = make_entry("m", onnx=graph, length_buckets=(128, 512))
    text = {"text": {"instance_count": instances}}
    step = make_entry("m-postprocessor", runtime="python", kind="postprocessor", serves="m", spec=text)
    return model, step


def test_sizes_grow_with_the_release():
    small, large = measure(), measure(make_entry("x", size_mib=20_000))
    text = measure(make_entry("tokenizer", runtime="python", kind="tokenizer", size_mib=1))
    assert large.models_gib > small.models_gib
    assert large.memory_gib > small.memory_gib
    assert large.start_s > small.start_s
    assert text.shared_memory_mib > small.shared_memory_mib


@pytest.mark.parametrize(("instances", "mib"), [(1, 477), (2, 954)])
def test_shared_memory_holds_a_full_batch_of_the_longest_bucket(instances, mib):
    """8 x 512 x 30522 FP32 values are 477 MiB."""
    sizes = measure(*make_fill_mask(instances))
    assert sizes.shared_memory_mib == 256 + 128 + mib
    assert sizes.reasons["shared-memory"] == (
        f"{384 + mib:,} MiB: 256, 128 for m-postprocessor, "
        f"{mib} for a full batch of the longest bucket in every instance of m-postprocessor"
    )


def test_disk_has_room_for_the_copy_that_a_killed_container_left():
    """The volume outlives the container, and Triton copies into a new folder: 1,500 MiB twice, and 1 GiB."""
    assert measure(make_entry(size_mib=1500)).models_gib == 4


def test_triton_copies_a_folder_for_each_of_its_versions():
    files = {f"{version}/model.onnx": FileRecord(size=1000 * MIB, sha256="0" * 64) for version in (1, 2)}
    sizes = measure(make_entry(files=files))
    assert sizes.models_gib == 1 + 8  # 2,000 MiB, for two versions, with the copies of a killed container
    assert sizes.reasons["models"].startswith("4,000 MiB that Triton copies")


def test_each_instance_of_onnx_runtime_on_a_cpu_holds_the_weights():
    one = measure(make_entry("m", size_mib=2000))
    three = measure(make_entry("m", size_mib=2000, spec={"serving": {"instance_count": 3}}))
    groups = [{"count": 2, "kind": "cpu"}, {"count": 1, "kind": "cpu"}]
    in_groups = measure(make_entry("m", size_mib=2000, spec={"serving": {"instance_groups": groups}}))
    on_gpu = measure(make_entry("m", size_mib=2000, spec={"serving": {"instance_count": 3, "instance_kind": "gpu"}}))
    plan = measure(make_entry("m", make_plan(), size_mib=2000, spec={"serving": {"instance_count": 3}}))
    assert three.memory_gib == in_groups.memory_gib == one.memory_gib + 4  # 4,000 MiB, in whole GiB
    assert on_gpu.memory_gib == plan.memory_gib == one.memory_gib
    assert "4,000 further instances of ONNX Runtime on a CPU" in three.reasons["memory"]


def test_memory_has_room_for_the_response_cache_that_an_entry_asks_for():
    cache = ("--cache-config=local,size=3221225472", "--rate-limit=execution_count")
    assert measure(server_arguments=cache).memory_gib == measure().memory_gib + 3


def test_memory_says_what_it_is_the_sum_of():
    assert measure(make_entry(size_mib=200)).reasons["memory"] == (
        "an estimate, MiB: 2,048 the server, 400 the models, which loading holds twice, 256 shared memory"
    )
