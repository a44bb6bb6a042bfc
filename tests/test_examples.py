"""The examples, each run as its first lines say, on real or drawn heads."""

import re

import numpy as np
from PIL import Image

from madrnet_timm.hub.model_folder import ModelFolder

from .training.conftest import rows, write_heads


def test_classify(example, hushem_dir, tmp_path):
    paths = [next((hushem_dir / name).rglob("*.BMP")) for name in ("01_Normal", "02_Tapered")]
    run = example("classify.py", *paths, "--contact-sheet", tmp_path / "sheet.png")
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    for line, path, label in zip(lines, paths, ("Normal", "Tapered"), strict=True):
        assert re.match(rf"{path}: {label} 0\.\d\d, aspect ratio \d\.\d\d", line)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert np.asarray(sheet).std() > 10
    missing = example("classify.py", tmp_path / "none.png")
    assert missing.returncode == 2
    assert "none.png" in missing.stderr
    assert "Traceback" not in missing.stderr


def test_finetune(example, tmp_path):
    heads, output = write_heads(tmp_path / "heads", per_class=5), tmp_path / "tuned"
    run = example("finetune.py", heads, "--output", output, "--epochs", 1)
    assert run.returncode == 0, run.stderr
    assert "accuracy on the fold held out: " in run.stdout
    assert "control, shape and stain: " in run.stdout
    assert len(rows(output / "predictions.csv")) == 2
    model = ModelFolder(output / "model")
    assert model.label_names == ["Normal", "Tapered"]
    assert {"hushem", "smids"} <= model.learned_before


def test_reversible(example):
    run = example("reversible.py")
    assert run.returncode == 0, run.stderr
    plain, rebuilt = (float(value) for value in re.findall(r": ([\d.]+) MB kept", run.stdout))
    assert 0 < rebuilt < plain / 5
    difference = re.search(r"differ by at most (\S+) of", run.stdout)
    assert difference is not None
    assert float(difference[1]) < 1e-4


def test_quickstart(example, tmp_path):
    run = example("quickstart.py", "--output", tmp_path / "run", "--epochs", 1)
    assert run.returncode == 0, run.stderr
    assert "4. Classify heads that it has never seen" in run.stdout
    assert (tmp_path / "run" / "heads.png").read_bytes().startswith(b"\x89PNG")
    assert ModelFolder(tmp_path / "run" / "model").architecture == "madrnet_test_resnet"
