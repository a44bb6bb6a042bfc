"""timm's own model tests over our names, where its source distribution is at hand (`.ci/run` fetches it)."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

NAMES = ["test_resnet", "mobilenetv3_small_050", "test_convnext", "test_mambaout", "test_vit", "regnetx_002"]
SOURCE = os.environ.get("MADRNET_TIMM_SOURCE", "")


@pytest.mark.slow
@pytest.mark.skipif(not SOURCE, reason="needs timm's source distribution in $MADRNET_TIMM_SOURCE")
def test_timms_model_tests_pass():
    env = {
        **os.environ,
        "MADRNET_TIMM_NAMES": " ".join(f"madrnet_{name}" for name in NAMES),
        "PYTHONPATH": str(Path(__file__).parent),
    }
    command = [sys.executable, "-m", "pytest", "-p", "timm_plugin", "tests/test_models.py", "-q", "-W", "ignore"]
    run = subprocess.run(
        [*command, "-p", "no:cacheprovider", "--tb=short"], cwd=SOURCE, env=env, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed
    assert int(passed[1]) >= 10 * len(NAMES), run.stdout[-500:]
