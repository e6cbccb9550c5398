"""The real server checks what we write: it accepts it, or we refused the request first.

What a server without a GPU and without the TensorRT backend can check, and how it is brought to:

- a TensorRT entry is accepted when the one complaint is the missing backend library. Before it looks for that, the
  server has parsed the text and checked names, platform and batching (core, ``ValidateModelConfig``); instance
  groups, warm-up and resources come after. So some of the entries are loaded on a second server, which has a Python
  backend in the TensorRT backend's place, the rate limiter on, and a cache: it checks profile indices, versions,
  warm-up samples with their files, rate limiter resources and the response cache.
- KIND_GPU and `gpus` need a GPU: ``ValidateInstanceGroup`` says that there is none before it says anything else. On
  the second server the instances are put on the CPU, after the configuration was generated. OpenVINO, which the
  stand-in for the ONNX Runtime backend does not have, is left out there as well.
- What only the real TensorRT backend reads (CUDA graph specs, stream priority, whether a plan has the profile, eager
  batching) is checked by no server here: the unit tests hold it to the backend's source.
"""

import subprocess

import pytest
from prep_triton.spec import ServingSpec
from prep_triton.triton.server.process import run_triton

from scripts.benchmarks.config_oracle import check_specs
from scripts.benchmarks.serving_configs import assemble_entry
from scripts.benchmarks.small_artifacts import make_model

pytestmark = pytest.mark.integration


def test_every_drawn_request_is_refused_by_us_or_accepted_by_the_server():
    verdicts = check_specs(300, seed=0, loaded=30)
    assert not verdicts.third, "\n".join(verdicts.third)
    assert verdicts.drawn == 300
    assert min(verdicts.accepted, verdicts.refused) >= 75
    assert verdicts.loaded >= 25


def test_an_entry_of_a_tier_loads_with_the_arguments_beside_it_and_is_warm(tmp_path):
    serving = ServingSpec(tier=1, warmup=True, response_cache=True, threads=1, max_batch_size=4)
    entry = assemble_entry(make_model(tmp_path / "model"), [], serving, tmp_path / "repo").artifact
    arguments = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' $(cat {tmp_path}/repo/server.args)"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert arguments == ["--cache-config=local,size=268435456", "--rate-limit=execution_count"]
    with run_triton(str(tmp_path / "repo"), entries=[entry.name], arguments=arguments) as server:
        server.check_loaded()
        assert server.loaded == (entry.name,)
