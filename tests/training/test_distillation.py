"""A student that follows a cross-validated teacher, on folds that the teacher did not see."""

import csv
import json
import shutil
from dataclasses import replace

import pytest

from madrnet_timm.errors import InputError
from madrnet_timm.training.cross_validation import cross_validate
from madrnet_timm.training.recipe import Recipe
from madrnet_timm.training.run_config import RunConfig
from madrnet_timm.training.run_folder import RunFolder
from madrnet_timm.training.shipping import Shipment, ship
from madrnet_timm.training.stored import compare_runs

from .conftest import SMALL, write_heads


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    tmp = tmp_path_factory.mktemp("teacher")
    heads = write_heads(tmp / "heads")
    recipe = Recipe(epochs=2, img_size=48, batch_size=8)
    cross_validate(RunConfig("madrnet_test_resnet", "folder", tmp / "cv", data_dir=heads, folds=2, recipe=recipe))
    return tmp / "cv", heads


def test_distill_trains_both_and_compares(madrnet, teacher, tmp_path):
    folder, heads = teacher
    command = ["distill", folder, "--dataset", "folder", "--data-dir", heads, *SMALL]
    command += ["--epochs", "2", "--output", tmp_path / "out"]
    run = madrnet(*command)
    assert run.returncode == 0, run.stderr
    assert len([line for line in run.stdout.splitlines() if line.startswith("epoch ")]) == 8  # redirected: no bar
    assert "%|" not in run.stdout + run.stderr
    found = compare_runs(tmp_path / "out/alone", tmp_path / "out/distilled")
    assert f"gain, points: {100 * found.difference:+.1f} ± {100 * found.half_width:.1f}" in run.stdout
    with (tmp_path / "out/distilled/seed0-fold1/history.csv").open(newline="") as opened:
        row = next(csv.DictReader(opened))
    total = sum(
        weight * float(row[f"loss_{name}"])
        for name, weight in {
            "cross_entropy": 1, "triplet": 0.4, "harc": 0.3, "distill_probabilities": 1, "distill_embedding": 0.5,
        }.items()
    )  # fmt: skip
    assert float(row["loss"]) == pytest.approx(total, rel=1e-4)
    assert float(row["loss_distill_probabilities"]) > 0
    with (tmp_path / "out/alone/seed0-fold1/history.csv").open(newline="") as opened:
        assert "loss_distill_embedding" not in next(csv.DictReader(opened))
    with pytest.raises(InputError, match="distilled, and its teachers were trained on folds of their own"):
        ship(Shipment(tmp_path / "out/distilled", "madrnet_test_resnet.x", tmp_path / "hub"))
    assert not (tmp_path / "hub").exists()


def test_distillation_without_labels_is_gone(madrnet, tmp_path):
    run = madrnet("distill", tmp_path, "--unlabelled", tmp_path, "--output", tmp_path / "out")
    assert run.returncode == 2
    assert "argument --unlabelled: is gone" in run.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["no/such/run"], "no/such/run/seed0-fold0: no such model; expected a model folder, a finished run"),
        (["--img-size", "64"], "images of another size"),
    ],
)
def test_distill_looks_at_the_teachers_first(madrnet, teacher, tmp_path, args, words):
    """Before the student is trained alone, which may take hours."""
    folder, heads = teacher
    teachers = [folder] if args[0].startswith("--") else []
    run = madrnet(
        "distill", *teachers, *SMALL, *args, "--dataset", "folder", "--data-dir", heads,
        "--output", tmp_path / "out",
    )  # fmt: skip
    assert run.returncode == 2, run.stderr
    assert words in run.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--fold", "1"], "was trained on 8 of the 8 images that the student is measured on"),
        (["--img-size", "64"], r"images of another size \(Normal, Tapered; \[3, 48, 48\]\)"),
        (["--model", "test_resnet"], "gives no embedding"),
    ],
)
def test_a_teacher_that_does_not_fit(teacher, tmp_path, args, words):
    from argparse import ArgumentParser

    from madrnet_timm.commands.training_arguments import add_arguments, from_arguments
    from madrnet_timm.training.train import train

    folder, heads = teacher
    parser = ArgumentParser()
    add_arguments(parser)
    parser.add_argument("--fold", type=int, default=0)
    base = ["--dataset", "folder", "--data-dir", str(heads), "--output", str(tmp_path / "run"), *SMALL, "--epochs", "1"]
    options = from_arguments(parser.parse_args([*base, *args]), seed=0)
    with pytest.raises(InputError, match=words):
        train(replace(options, teachers=(str(folder / "seed0-fold0"),)))
    assert not (tmp_path / "run").exists()


def test_a_model_that_follows_a_model_folder_on_every_image(madrnet, teacher, tmp_path):
    """Its teacher may have seen all of them, since none is held out; neither is any figure claimed."""
    import timm

    from madrnet_timm.hub.model_folder import ModelFolder

    path, heads = teacher
    model = path / "seed0-fold0" / "model"
    command = ["train", "--fold", "none", "--teacher", model, "--data-dir", heads, "--dataset", "folder", *SMALL]
    run = madrnet(*command, "--epochs", "1", "--output", tmp_path / "all")
    assert run.returncode == 0, run.stderr
    assert f"following {model} (distillation)" in run.stdout
    assert "training on 16 images" in run.stdout
    assert "no image is held out and no accuracy measured" in run.stdout
    assert "  fit: accuracy" in run.stdout
    folder = ModelFolder(tmp_path / "all" / "model")
    assert (folder.info.accuracy, folder.info.calibration, folder.info.confusion_matrix) == (None, None, None)
    assert folder.info.protocol == "Trained on all 16 images of own folder; none was held out."
    assert len(folder.seen) == 16
    card = (folder.path / "README.md").read_text()
    assert "no image was held out in its training" in card
    assert "accuracy" not in card.split("---")[1]
    assert RunConfig.read(tmp_path / "all" / "config.yaml").teachers == (str(model.resolve()),)
    with (tmp_path / "all/history.csv").open(newline="") as opened:
        assert float(next(csv.DictReader(opened))["loss_distill_probabilities"]) > 0
    assert timm.create_model(f"local-dir:{folder.path}", pretrained=True).num_classes == 2
    predicted = madrnet(
        "predict", heads / "Normal" / "0.png", "--model", tmp_path / "all", "--output", tmp_path / "r.csv"
    )
    assert predicted.returncode == 0, predicted.stderr
    assert "it has no threshold: only where it finds no head" in predicted.stderr


def test_nothing_can_be_left_out_where_nothing_is_held_out(madrnet, tmp_path):
    run = madrnet("train", "--fold", "none", "--leave-out-seen", "--output", tmp_path / "run")
    assert run.returncode == 2
    assert "--leave-out-seen: with --fold none no image is held out" in run.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("fold", ["-1", "last", "0.5"])
def test_no_such_fold(madrnet, fold):
    run = madrnet("train", f"--fold={fold}")
    assert run.returncode == 2
    assert f"'{fold}': expected the number of a fold, from 0, or none" in run.stderr


def test_a_teacher_sees_its_own_normalisation(teacher):
    """A student with another mean and std: the teacher's logits are those of the image as it knows it."""
    import torch

    from madrnet_timm.hub.model_folder import ModelFolder
    from madrnet_timm.training.teachers import Teachers

    run = teacher[0] / "seed0-fold0"
    folder = ModelFolder(run / "model")
    config = folder.data_config
    other = config | {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}
    x = torch.rand(2, 3, 48, 48)

    def normalized(c):
        return (x - torch.tensor(c["mean"]).view(1, 3, 1, 1)) / torch.tensor(c["std"]).view(1, 3, 1, 1)

    logits, _ = Teachers([folder], other, folder.pipeline)([normalized(other)])
    with torch.no_grad():
        assert torch.allclose(logits[0], folder.load()(normalized(config)), atol=1e-4)


@pytest.mark.parametrize("mixed", [False, True])
def test_a_teacher_follows_drawn_views_only_where_it_knows_them(teacher, tmp_path, mixed):
    """A student that is shown one of several views, and a teacher of the same pipeline."""
    from madrnet_timm.hub.model_folder import ModelFolder
    from madrnet_timm.training.teachers import Teachers

    shutil.copytree(teacher[0] / "seed0-fold0" / "model", tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config["madrnet"]["mixed_views"] = mixed
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    folder = ModelFolder(tmp_path / "model")
    for drawn, others, places in (
        (False, [], [0]),
        (True, [] if mixed else [(folder.pipeline, 1.0)], [int(not mixed)]),
    ):
        found = Teachers([folder], folder.data_config, folder.pipeline, drawn)
        assert (found.others, found.places) == (others, places)


def test_a_teacher_sees_its_own_view(teacher, tmp_path):
    """A student of images as they lie follows one that knows heads alone, on the same images, changed the same."""
    import numpy as np
    import torch

    from madrnet_timm.data.images import AUGMENTATIONS
    from madrnet_timm.data.pipelines import prepare
    from madrnet_timm.data.sources import images_of
    from madrnet_timm.hub.model_folder import ModelFolder
    from madrnet_timm.training.batch_loss import BatchLoss
    from madrnet_timm.training.setup import set_up

    path, heads = teacher
    recipe = Recipe(epochs=1, img_size=48, batch_size=8, pipeline="raw")
    options = RunConfig("madrnet_test_resnet", "folder", tmp_path / "run", data_dir=heads, folds=2, recipe=recipe)
    run = set_up(replace(options, teachers=(str(path / "seed0-fold0"),)), RunFolder(options.output), "")
    folder = ModelFolder(path / "seed0-fold0" / "model")
    assert (folder.pipeline, run.teachers.others) == ("head-only", [("head-only", 1.0)])
    batch, network_input = next(iter(run.images.train_loader)), run.images.network_input
    own, seen = [], []
    for index in batch["index"].tolist():
        image = next(iter(images_of(run.division.train_records.select([index]))))
        state = np.random.SeedSequence([0, 0, index]).generate_state(1)
        for views, pipeline, crop_pct in ((own, "raw", run.data_config["crop_pct"]), (seen, "head-only", 1.0)):
            torch.manual_seed(int(state[0]))
            view = torch.from_numpy(prepare(image, pipeline, 48, crop_pct)).permute(2, 0, 1).contiguous()
            views.append(AUGMENTATIONS["medium"](view))
    assert torch.equal(batch["image"], torch.stack(own))
    assert torch.equal(batch["others"][0], torch.stack(seen))
    with torch.no_grad():
        expected = folder.load()(network_input(torch.stack(seen)))
        logits, _ = run.teachers([network_input(batch["image"]), network_input(batch["others"][0])])
        assert torch.allclose(logits[0], expected, atol=1e-4)
        run.model.train()
        parts = BatchLoss(run)(batch)[1]
        student = run.model(network_input(batch["image"]))[0]
    p, q = (expected / 2).softmax(1), (student / 2).softmax(1)
    assert parts["distill_probabilities"].item() == pytest.approx(
        4 * (p * (p / q).log()).sum(1).mean().item(), rel=1e-3
    )
