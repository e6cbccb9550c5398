"""The Triton that a machine has."""

from prep_triton.triton.server.installation import prepare_installation


def test_the_wheels_server_finds_its_response_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("PREP_TRITONSERVER", raising=False)
    monkeypatch.setenv("PATH", "")
    arguments = prepare_installation(tmp_path, shm_prefix="x-").arguments
    (cache,) = [argument for argument in arguments if argument.startswith("--cache-directory=")]
    assert cache.endswith("tritonserver/caches")
