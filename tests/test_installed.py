"""What the README says, done by the installed package: `.ci/package` runs this where no checkout is in sight."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import madrnet_timm

MODEL = "madrnet_tf_efficientnet_lite0.smids_ft_hushem"

pytestmark = pytest.mark.skipif(
    not Path(madrnet_timm.__file__).is_relative_to(sys.prefix), reason="the package is not installed, but a checkout"
)


@pytest.fixture
def madrnet(tmp_path):
    """The command that was installed, in an empty folder."""

    def run(*words):
        command = [Path(sys.executable).with_name("madrnet"), *map(str, words)]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
        assert run.returncode == 0, run.stderr
        return run.stdout

    return run


def test_the_readme_without_a_checkout(madrnet, tmp_path):
    from madrnet_timm.data.synthetic import draw_head

    madrnet("quickstart", "--epochs", 2, "--output", "quick")
    assert (tmp_path / "quick" / "model" / "model.safetensors").is_file()
    crops = tmp_path / "crops"
    crops.mkdir()
    for number, shape in enumerate(("Normal", "Tapered", "Pyriform")):
        Image.fromarray(draw_head(shape, seed=number).image).save(crops / f"{number}.png")
    for model in (MODEL, "quick/model"):
        table = f"{Path(model).name}.csv"
        madrnet("predict", "crops", "--model", model, "--output", table)
        assert len((tmp_path / table).read_text().splitlines()) == 4
    madrnet("report", f"{MODEL}.csv", "--output", "report.html")
    assert "2.png" in (tmp_path / "report.html").read_text()
    madrnet("measure", "crops", "--output", "heads.csv")
    assert len((tmp_path / "heads.csv").read_text().splitlines()) == 4
    assert "Normal" in madrnet("data", "stats", "--dataset", "synthetic")
