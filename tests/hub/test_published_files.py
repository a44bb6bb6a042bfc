"""Which files a publication leaves on the Hub, which licence they state, and that timm takes no pickle from there."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from ..conftest import EXAMPLES

HUB = EXAMPLES.parent / "hub"
REPO = "owner/heads"


def test_what_an_older_model_left_on_the_hub_goes(hub, python, madrnet, model_dir, tmp_path):
    """Else its list of images would be taken for that of the new model."""
    shutil.copytree(model_dir, tmp_path / "model")
    (tmp_path / "model" / "seen.csv").write_text("pixel_sha256\nab\ncd\n")
    assert madrnet("publish", tmp_path / "model", "--repo", REPO, "--tag", "v1").returncode == 0
    repo = hub.repos[f"models/{REPO}"]
    repo.commit(repo.commits[-1][1] | {"notes.txt": b"by hand"})
    (tmp_path / "model" / "seen.csv").unlink()
    run = madrnet("publish", tmp_path / "model", "--repo", REPO, "--dry-run")
    assert "seen.csv: removed\n" in run.stdout
    run = madrnet("publish", tmp_path / "model", "--repo", REPO, "--tag", "v1")
    assert (run.returncode, "--tag v1: stands for other files already" in run.stderr) == (2, True)
    run = madrnet("publish", tmp_path / "model", "--repo", REPO, "--tag", "v2")
    assert run.returncode == 0, run.stderr
    there = repo.commits[-1][1]
    assert "seen.csv" not in there
    assert there["notes.txt"] == b"by hand"


def test_the_licence_of_card_and_config_is_one(hub, madrnet, model_dir):
    assert madrnet("publish", model_dir, "--repo", REPO, "--license", "cc-by-4.0").returncode == 0
    there = hub.repos[f"models/{REPO}"].commits[-1][1]
    assert b"\nlicense: cc-by-4.0\n" in there["README.md"]
    assert json.loads(there["config.json"])["pretrained_cfg"]["license"] == "cc-by-4.0"
    before = json.loads((model_dir / "config.json").read_text())
    before["pretrained_cfg"]["license"] = "cc-by-4.0"
    assert json.loads(there["config.json"]) == before


def test_the_licence_of_a_published_model_stays(hub, madrnet):
    name = "madrnet_tf_efficientnet_lite0.hushem"
    if not (HUB / name / "model.safetensors").is_file():
        pytest.skip("needs the weights in hub/")
    run = madrnet("publish", HUB / name, "--repo", REPO, "--license", "mit", "--dry-run")
    assert run.returncode == 2
    assert f"--license mit: {name} has the licence apache-2.0" in run.stderr


def test_timm_opens_no_pickle_either(hub, python, model_dir, tmp_path):
    """Neither of a folder nor of a repository, whose config.json names a MADRNet."""
    shutil.copytree(model_dir, tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    (tmp_path / "model" / "model.safetensors").unlink()
    torch.save(weights, tmp_path / "model" / "pytorch_model.bin")
    hub.add("owner/pickled", {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()})
    make = "import sys, timm, madrnet_timm; timm.create_model(sys.argv[1], pretrained=True)"
    run = python("-c", make, f"local-dir:{tmp_path / 'model'}")
    assert run.returncode != 0
    assert "holds no model.safetensors; pickled weights are never opened" in run.stderr
    run = python("-c", make, "hf-hub:owner/pickled")
    assert run.returncode != 0
    assert not any(line.endswith(".bin") for line in hub.log), hub.log
