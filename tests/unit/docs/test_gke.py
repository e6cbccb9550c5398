"""docs/gke.md says what the command line takes, what the base holds and what machines cost."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from prep_triton.bench.prices import load_prices
from prep_triton.cli.app import app
from prep_triton.deploy.base import plan_base
from prep_triton.deploy.request import DeploymentSpec
from typer.core import TyperGroup
from typer.main import get_command

from tests.fakes.served_release import make_release

PAGE = (Path(__file__).parents[3] / "docs" / "gke.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"(?:^ {4}.*\n)+", PAGE, re.MULTILINE)
CODE = "".join(BLOCKS).replace("\\\n", " ")
COMMANDS = [line.strip() for line in CODE.splitlines() if line.strip().startswith("prep ")]
COMMANDS += re.findall(r"`(prep [a-z]+ [^`]+)`", PAGE)
BASE = plan_base(make_release(), DeploymentSpec(replicas=(2, 4), service_account="triton@p.iam.gserviceaccount.com"))


def test_the_page_has_commands():
    assert {command.split()[1] for command in COMMANDS} >= {"run", "deploy", "rollback", "bench", "releases", "lint"}


@pytest.mark.parametrize("command", dict.fromkeys(COMMANDS))
def test_a_command_of_the_page_is_taken(command: str):
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    _, name, *arguments = shlex.split(command.partition(" | ")[0], comments=True)
    group.commands[name].make_context(name, arguments)


def test_every_block_is_shell():
    for line in CODE.splitlines():
        assert shlex.split(line.rstrip("\\")), line


def test_prices_are_those_of_the_table():
    rows = re.findall(r"^\| ([a-z0-9+-]+) \| ([a-z0-9]*) ?\| ([0-9.-]+) \| ([0-9.-]+) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 6
    prices = {price.machine: price for price in load_prices() if price.region == "us-central1"}
    for machine, gpu, *hourly in rows:
        price = prices[machine]
        known = (price.on_demand, price.spot)
        assert hourly == ["-" if value is None else f"{value:.3f}" for value in known], machine
        assert (price.accelerator or "") == gpu


def test_alerts_are_those_of_the_base():
    (group,) = yaml.safe_load(BASE.files["rules.yaml"])["spec"]["groups"]
    assert set(re.findall(r"Triton[A-Z]\w+", PAGE)) == {rule["alert"] for rule in group["rules"]}
    for alert, is_page in re.findall(r"^\| (Triton\w+) (\(page\))? ?\|", PAGE, re.MULTILINE):
        severities = {rule["labels"]["severity"] for rule in group["rules"] if rule["alert"] == alert}
        if alert != "TritonQueueLong":  # which depends on the tier
            assert severities == {"page" if is_page else "ticket"}, alert


def test_the_dashboard_is_where_the_page_says():
    configmap = yaml.safe_load(BASE.files["configmap-dashboard.yaml"])
    name, key = re.findall(r"get configmap (\S+) -o jsonpath='\{\.data\.(\S+)\}'", PAGE)[0]
    assert configmap["metadata"]["name"] == name
    assert json.loads(configmap["data"][key.replace("\\.", ".")])["panels"]


def test_roles_are_those_that_the_base_asks_for():
    roles = set(re.findall(r"roles/\w+\.\w+", "".join(BASE.files.values())))
    assert roles >= {"roles/storage.objectViewer", "roles/iam.workloadIdentityUser", "roles/monitoring.viewer"}
    assert roles <= set(re.findall(r"roles/\w+\.\w+", PAGE))
    account = yaml.safe_load(BASE.files["serviceaccount.yaml"])["metadata"]["name"]
    assert f"svc.id.goog[{BASE.namespace}/{account}]" in PAGE
