"""The table of prices: ours, the user's file over it, and what is not in it."""

from pathlib import Path

import pytest
from prep_triton.bench.prices import PRICES_VARIABLE, find_price, load_prices
from prep_triton.errors import SpecError
from prep_triton.gpus import CAPABILITY_BY_GPU

REGION = "us-central1"


def write(folder: Path, text: str) -> Path:
    path = folder / "prices.yaml"
    path.write_text(text)
    return path


def test_every_price_has_a_public_page_and_all_but_the_unknown_a_date():
    for price in load_prices():
        assert price.source.url is not None, price.machine
        assert price.source.url.startswith("https://")
        assert (price.source.date is None) == (price.on_demand is None)
        assert price.accelerator is None or price.accelerator in CAPABILITY_BY_GPU
        prices = [price.spot, price.committed, price.on_demand]
        known = [value for value in prices if value is not None]
        assert known == sorted(known), f"{price.machine}: spot, then committed, then on demand"


def test_the_prices_that_are_known_from_elsewhere_agree():
    """The dollars an hour that were looked up on Google's own pages, and those of 2021 in published.yaml."""
    prices = {price.machine: price.on_demand for price in load_prices()}
    assert prices["g2-standard-4"] == pytest.approx(0.7068, abs=1e-4)
    assert prices["g2-standard-8"] == pytest.approx(0.8536, abs=1e-4)
    assert prices["n2-standard-4"] == pytest.approx(0.1942, abs=1e-4)
    assert prices["e2-standard-4"] == pytest.approx(0.1340, abs=1e-4)
    assert prices["n1-standard-96"] == pytest.approx(4.56, abs=1e-3)
    assert prices["n1-standard-4+t4"] == pytest.approx(0.54, abs=1e-3)


def test_a_file_of_the_users_adds_regions_and_replaces_prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path, "us-central1: {g2-standard-4: {on_demand: 0.5}}\neurope-west4: {own: {cores: 2, spot: 1}}\n")
    monkeypatch.setenv(PRICES_VARIABLE, str(path))
    prices = load_prices()
    row = find_price("g2-standard-4", "on-demand", REGION, prices)
    assert (row.on_demand, row.cores, row.accelerator) == (0.5, 4, "l4")
    assert (row.source.name, row.source.date) == (str(path), None)
    # Prices of another source do not stay under the user's.
    assert (row.spot, row.committed) == (None, None)
    assert find_price("own", "spot", "europe-west4", prices).spot == 1
    assert find_price("n1-standard-4", "spot", REGION, prices).spot == 0.08918


def test_every_fault_of_a_users_file_has_its_line(tmp_path: Path):
    text = f"{REGION}:\n  g2-standard-4: {{on_demand: cheap, spott: 2}}\n  new: {{spot: 0}}\n  x: 3\n"
    text += "  y: {cores: 2, machine: z, on_demand: true}\n  z: {cores: 2, on_demand: true}\n  4: {cores: 2}\n"
    path = write(tmp_path, text)
    with pytest.raises(SpecError) as caught:
        load_prices(path)
    places = [(fault.place.split(": ")[0], fault.message) for fault in caught.value.faults]
    assert places == [
        (f"{path}:2:30", "'cheap' is not a number"),
        (f"{path}:2:37", "unknown key 'spott'"),
        (f"{path}:3:8", "a required key is missing"),
        (f"{path}:3:15", "0 is out of range"),
        (f"{path}:4:6", "it is not a mapping of prices"),
        (f"{path}:5:17", "unknown key 'machine'"),
        (f"{path}:6:28", "true is not a number"),
        (f"{path}:7:3", "4 is not text"),
    ]


@pytest.mark.parametrize("text", ["- 1\n", "us-central1: 3\n", "just text\n", ""])
def test_what_is_no_table_is_one_sentence(tmp_path: Path, text: str):
    path = write(tmp_path, text)
    with pytest.raises(SpecError, match="is not a table of prices by region and machine"):
        load_prices(path)
    with pytest.raises(SpecError, match="there is no such file"):
        load_prices(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("machine", "kind", "region", "message", "hint"),
    [
        (
            "g2-standrd-4",
            "spot",
            REGION,
            "there is no price of a machine 'g2-standrd-4'",
            "did you mean 'g2-standard-4'",
        ),
        ("T4", "spot", REGION, "there is no price of a machine 'T4'", "did you mean n1-standard-4+t4?"),
        ("m5.large", "spot", REGION, "but of e2-standard-4, ", f"named by {PRICES_VARIABLE}"),
        ("", "spot", REGION, "there is no price of a machine ''", f"named by {PRICES_VARIABLE}"),
        ("g2-standard-4", "spot", "us-centrall", "no prices of the region 'us-centrall'", f"did you mean '{REGION}'?"),
        (
            "n1-standard-4+t4",
            "spot",
            REGION,
            "no source says what n1-standard-4+t4 costs",
            "take --price on-demand, or",
        ),
        ("a3-highgpu-1g", "spot", REGION, "no source says what a3-highgpu-1g costs", "add it in a file of your own"),
    ],
)
def test_what_has_no_price_says_what_has(machine, kind, region, message, hint):
    with pytest.raises(SpecError) as caught:
        find_price(machine, kind, region, load_prices())
    assert message in caught.value.message
    assert hint in caught.value.hint
