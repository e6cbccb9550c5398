"""scripts/policy-check on a written base, where checkov is installed; and that what it leaves out is explained."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prep_triton.deploy.base import plan_base
from prep_triton.deploy.folder import save_base
from prep_triton.deploy.request import DeploymentSpec

from tests.fakes.served_release import make_entry, make_plan, make_release

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "policy-check"


def test_findings_that_are_left_are_explained():
    left = set(re.findall(r"^  (CKV\w+)", SCRIPT.read_text(), re.MULTILINE))
    explained = set(re.findall(r"^\| (CKV\w+)", (ROOT / "docs" / "releases.md").read_text(), re.MULTILINE))
    assert left
    assert explained == left | {"CKV_K8S_18"}


def test_base_has_no_other_finding(tmp_path: Path):
    if not (shutil.which("checkov") and shutil.which("kubectl")):
        pytest.skip("checkov or kubectl is not on PATH: pipx install checkov==3.3.30")
    release = make_release(make_entry("bert", make_plan("t4"), make_plan("l4")))
    spec = DeploymentSpec(gateway="gateway-api", host="bert.example.com", autoscaler="managed", spot=True)
    save_base(plan_base(release, spec), tmp_path / "base")
    done = subprocess.run([SCRIPT, str(tmp_path / "base")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    deployment = tmp_path / "base" / "deployment-t4.yaml"
    deployment.write_text(deployment.read_text().replace("Escalation: false", "Escalation: true"))
    done = subprocess.run([SCRIPT, str(tmp_path / "base")], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "CKV_K8S_20" in done.stdout


def test_missing_checkov_is_named(tmp_path: Path):
    """Bash and the tools of the script are found by their own folder; a PATH without checkov is what a clone has."""
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    for command in ("bash", "kubectl"):
        path = shutil.which(command) or "/bin/true"
        (bin_dir / command).symlink_to(path)
    environment = {"PATH": str(bin_dir)}
    done = subprocess.run(
        [bin_dir / "bash", str(SCRIPT), "base"], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 2
    assert done.stderr == "error: checkov is not on PATH; hint: pipx install checkov==3.3.30\n"
