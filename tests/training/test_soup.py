"""The mean of several trainings from the same weights."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from madrnet_timm.data.images import ImageDataset
from madrnet_timm.data.normalization import normalized
from madrnet_timm.hub.model_folder import ModelFolder
from madrnet_timm.training.division import divide
from madrnet_timm.training.run_config import RunConfig
from madrnet_timm.training.soup import Soup

from .conftest import SMALL, killed_in, rows, write_heads, written


@pytest.fixture(scope="module")
def soup(tmp_path_factory, train_command):
    """A run of two trainings: its folder, arguments, what each training kept, and what the second one began with."""
    tmp = tmp_path_factory.mktemp("soup")
    args = ["--dataset", "folder", "--data-dir", write_heads(tmp / "heads"), *SMALL, "--epochs", 2]
    added, begun = [], []
    add, begin_again = Soup.add, Soup.begin_again

    def noted_add(self, model, epoch):
        added.append({key: value.clone() for key, value in model.state_dict().items()})
        add(self, model, epoch)

    def noted_begin(self):
        begin_again(self)
        begun.append({key: value.clone() for key, value in self._setup.bare_model.state_dict().items()})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Soup, "add", noted_add)
        patch.setattr(Soup, "begin_again", noted_begin)
        assert train_command(*args, "--soup", 2, "--output", tmp / "soup") == 0
    return tmp / "soup", args, added, begun


def parameters(model):
    """Names of those weights that are averaged."""
    return [name for name, _ in model.named_parameters()]


def test_the_weights_are_the_mean_of_both(soup, tmp_path, train_command):
    folder, args, (first, second), (begun,) = soup
    assert train_command(*args, "--output", tmp_path / "plain") == 0
    plain = load_file(tmp_path / "plain" / "model" / "model.safetensors")
    found = load_file(folder / "model" / "model.safetensors")
    names = parameters(ModelFolder(folder / "model").load())
    assert len(names) > 20
    for name in names:
        assert torch.equal(first[name], plain[name])  # the first training is the one without a soup
        torch.testing.assert_close(found[name], ((first[name].double() + second[name].double()) / 2).float())
    assert not torch.equal(first["classifier.weight"], second["classifier.weight"])
    assert (begun["classifier.weight"] - first["classifier.weight"]).abs().max() > 1e-4  # it began anew
    history = [[row["epoch"], row["loss"]] for row in rows(folder / "history.csv")]
    assert [epoch for epoch, _ in history] == ["1", "2", "3", "4"]
    assert history[:2] == [[row["epoch"], row["loss"]] for row in rows(tmp_path / "plain" / "history.csv")]


def test_its_batch_statistics_are_those_of_its_own_weights(soup):
    """Of the first norm, over the changed training images of the two epochs that follow."""
    folder, *_ = soup
    config, model_folder = RunConfig.read(folder / "config.yaml"), ModelFolder(folder / "model")
    model = model_folder.load()
    norm = next(module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d))
    seen = []
    norm.register_forward_pre_hook(lambda _, args: seen.append(args[0].double()))
    recipe, data_config = config.recipe, model_folder.data_config
    images = ImageDataset(
        divide(config).train_records, recipe.pipeline, recipe.img_size, 1.0, recipe.augmentation, config.seed
    )
    for epoch in (4, 5):
        images.set_epoch(epoch)
        batch = torch.stack([images[row]["image"] for row in range(len(images))])
        with torch.no_grad():
            model(normalized(batch, data_config["mean"], data_config["std"]))
    assert len(images) == 8  # one batch, in whatever order
    expected = torch.stack([maps.mean(dim=(0, 2, 3)) for maps in seen]).mean(dim=0)
    torch.testing.assert_close(norm.running_mean.double(), expected, rtol=1e-4, atol=1e-5)


def test_what_is_measured_is_the_mean(soup):
    folder, *_ = soup
    config, model_folder = RunConfig.read(folder / "config.yaml"), ModelFolder(folder / "model")
    views = ImageDataset(divide(config).test_records, config.recipe.pipeline, config.recipe.img_size).views[0]
    with torch.no_grad():
        data_config = model_folder.data_config
        expected = model_folder.load()(normalized(views, data_config["mean"], data_config["std"])).softmax(dim=1)
    stored = [[float(row["p_Normal"]), float(row["p_Tapered"])] for row in rows(folder / "predictions.csv")]
    torch.testing.assert_close(torch.tensor(stored), expected, atol=2e-5, rtol=0)
    metrics = json.loads((folder / "metrics.json").read_text())
    right = [row["label"] == row["prediction"] for row in rows(folder / "predictions.csv")]
    assert metrics["accuracy"] == pytest.approx(sum(right) / len(right))
    assert metrics["accuracy"] == pytest.approx(float(rows(folder / "history.csv")[-1]["accuracy"]))
    protocol = ModelFolder(folder / "model").info.protocol
    assert "fixed (2 each of 2 trainings from the same weights, of which the mean is kept)" in protocol


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_goes_on_where_it_was_cut_off(soup, tmp_path, train_command, capsys, epoch):
    folder, args, *_ = soup
    command = [*args, "--soup", 2, "--output", tmp_path / "cut"]
    with killed_in(epoch):
        assert train_command(*command) == 130
    assert train_command(*command, "--resume") == 0
    assert f"goes on after epoch {epoch} of 4" in capsys.readouterr().out
    found, expected = (load_file(run / "model" / "model.safetensors") for run in (tmp_path / "cut", folder))
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_finished_one_given_again_stays_what_it_is(soup, tmp_path, train_command):
    folder, args, *_ = soup
    again = shutil.copytree(folder, tmp_path / "again")
    assert not (again / "checkpoint").exists()
    assert train_command(*args, "--soup", 2, "--output", again, "--resume") == 0
    assert written(again) == written(folder)


@pytest.mark.slow
def test_its_batch_statistics_are_those_of_all_processes(tmp_path):
    """Each process sees other images, so its own differ from the other's."""
    root = Path(__file__).parents[2]
    env = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "tests.training.distributed_soup", tmp_path / "soup", write_heads(tmp_path / "heads")]
    run = subprocess.run(command, capture_output=True, text=True, cwd=root, env=env, timeout=200)
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["numbers"] == found["kept"] > 100
    assert found["between processes"] > 1e-3
    assert found["to their mean"] < 1e-6
