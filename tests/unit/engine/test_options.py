import logging

import pytest
from prep_triton.engine.options import check_options, plan_options
from prep_triton.errors import SpecError
from prep_triton.gpus import resolve_gpu
from prep_triton.spec import EngineSpec

OPTIONS = {
    "optimization_level": 3,
    "version_compatible": True,
    "hardware_compatible": "ampere_plus",
    "refit": True,
    "strip_weights": True,
}


def spec(**options):
    return EngineSpec(precision="fp16", gpu="a100", **options)


@pytest.mark.parametrize("key", OPTIONS)
def test_rtx_refuses_what_means_nothing_to_it(key):
    with pytest.raises(SpecError, match=f"{key} means nothing to the tensorrt-rtx builder") as caught:
        check_options(spec(**{key: OPTIONS[key]}), resolve_gpu("a100"), "tensorrt-rtx")
    assert "--builder tensorrt" in caught.value.hint


def test_rtx_honours_a_workspace_limit():
    check_options(spec(workspace_limit_mib=512), resolve_gpu("a100"), "tensorrt-rtx")
    assert plan_options(spec(workspace_limit_mib=512))["workspace_limit_mib"] == 512


def test_the_standard_builder_takes_them_all_on_ampere():
    check_options(spec(**OPTIONS), resolve_gpu("a100"), "tensorrt")
    assert plan_options(spec(**OPTIONS)) == {"workspace_limit_mib": None, **OPTIONS}


def test_hardware_compatibility_is_refused_for_turing():
    with pytest.raises(SpecError, match=r"ampere_plus needs compute capability 8\.0 or newer, t4 has 7\.5") as caught:
        check_options(spec(hardware_compatible="ampere_plus"), resolve_gpu("t4"), "tensorrt")
    assert "plan of its own" in caught.value.hint


def test_the_price_of_an_option_is_told(caplog):
    with caplog.at_level(logging.INFO):
        check_options(spec(version_compatible=True, strip_weights=True), resolve_gpu("l4"), "tensorrt")
    assert "--backend-config=tensorrt,version-compatible=true" in caplog.text
    assert "before it is refitted" in caplog.text
