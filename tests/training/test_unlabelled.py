"""A student that follows its teachers on pictures without labels, too."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from madrnet_timm.data.manifest import MANIFESTS, data_sets_of, read_manifest
from madrnet_timm.data.pipelines import prepare
from madrnet_timm.data.sources import load, pictures
from madrnet_timm.data.unlabelled import unlabelled_records
from madrnet_timm.errors import InputError
from madrnet_timm.hub.model_folder import ModelFolder
from madrnet_timm.training import loop
from madrnet_timm.training.cross_validation import cross_validate, fold_options
from madrnet_timm.training.options import RunOptions, check, training_command
from madrnet_timm.training.recipe import Recipe
from madrnet_timm.training.run_folder import RunFolder
from madrnet_timm.training.seen import seen_by
from madrnet_timm.training.shipping import ship

from .conftest import SMALL, killed_in, rows, write_heads


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """Options of a student with a teacher, and with drawn heads that have no labels."""
    tmp = tmp_path_factory.mktemp("taught")
    heads = write_heads(tmp / "heads")
    recipe = Recipe(epochs=2, img_size=48, batch_size=8, unlabelled_batch=5)
    options = RunOptions("madrnet_test_resnet", "folder", tmp / "cv", data_dir=heads, folds=2, recipe=recipe)
    cross_validate(options)
    write_heads(tmp / "more", 6, ("Pyriform", "Amorphous"))
    return replace(
        options,
        output=tmp / "student",
        teachers=(tmp / "cv" / "seed0-fold0",),
        unlabelled=(tmp / "more" / "Pyriform", tmp / "more" / "Amorphous"),
    )


def test_pictures_of_labelled_cells_are_left_out(taught, tmp_path, caplog):
    labelled = load("folder", taught.data_dir)
    assert len(unlabelled_records(taught.unlabelled, labelled)) == 12
    with Image.open(taught.data_dir / "Normal" / "3.png") as opened:
        opened.save(tmp_path / "copy.bmp")  # the same pixels
        opened.save(tmp_path / "again.jpg", quality=90)  # nearly
        opened.crop((0, 0, 76, 76)).save(tmp_path / "crop.png")  # an overlapping crop
    files = [*taught.unlabelled, tmp_path]
    found = unlabelled_records(files, labelled)
    assert found["file"] == unlabelled_records(taught.unlabelled, labelled)["file"]
    assert "left out 3 of 15 pictures, of labelled cells" in caplog.text
    with pytest.raises(InputError, match="all of the 3 pictures show cells of the labelled ones"):
        unlabelled_records([tmp_path], labelled)
    with pytest.raises(InputError, match=r"--unlabelled .*nowhere: no such file or folder"):
        unlabelled_records([tmp_path / "nowhere"], labelled)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"bad\.png: can't read it as a picture"):
        unlabelled_records(files, labelled)


def test_answers_are_the_teachers_of_the_unchanged_pictures(taught, tmp_path):
    """Whatever the order and the random changes are; each epoch has other pictures and other changes of them."""
    run = loop._Run(replace(taught, output=tmp_path / "run"), RunFolder(tmp_path / "run"), "")
    folder = ModelFolder(taught.teachers[0] / "model")
    teacher, config = folder.load(), folder.data_config

    records = unlabelled_records(taught.unlabelled, load("folder", taught.data_dir))
    clear = torch.from_numpy(np.stack([prepare(image, folder.pipeline, 48) for image in pictures(records)])) / 255
    mean, std = torch.tensor(config["mean"]), torch.tensor(config["std"])
    with torch.no_grad():
        expected = teacher(((clear - mean) / std).permute(0, 3, 1, 2))
    assert len(run.unlabelled.pictures.views) == 1
    seen = []
    for epoch in range(2):
        batches = list(run.unlabelled.epoch(epoch))
        assert [len(images) for images, _ in batches] == [5] * len(run.loader)
        order = list(run.unlabelled.sampler)
        logits = torch.cat([answers[0][0] for _, answers in batches])
        assert torch.allclose(logits, expected[order], atol=1e-4)
        seen.append(torch.cat([images for images, _ in batches]))
        assert not torch.equal(seen[-1], run.unlabelled.pictures.views[0][order])  # changed
    assert not torch.equal(*seen)


def test_the_loss_is_of_labels_where_there_are_some_and_of_answers_everywhere(taught, tmp_path):
    run = loop._Run(replace(taught, output=tmp_path / "run"), RunFolder(tmp_path / "run"), "")
    batch, more = next(iter(run.loader)), next(run.unlabelled.epoch(0))
    run.model.train()
    with torch.no_grad():
        total, parts = run._loss(batch, more)
        images = run._input(torch.cat([batch["image"], more[0]]))
        logits, embeddings = run.model(images)
        told, ideals = (
            torch.cat([now[0], before[0]]) for now, before in zip(run.teachers([images[:8]]), more[1], strict=True)
        )
        known = run.hybrid(logits[:8], embeddings[:8], batch["label"], batch["aspect_ratio"].float())[1]
    assert len(logits) == 13
    smoothed = torch.full((8, 2), 0.05)
    smoothed[range(8), batch["label"]] += 0.9
    assert parts["cross_entropy"].item() == pytest.approx(
        -(smoothed * logits[:8].log_softmax(1)).sum(1).mean().item(), rel=1e-4
    )
    p, q = (told / 2).softmax(1), (logits / 2).softmax(1)
    divergence = 4 * (p * (p / q).log()).sum(1).mean().item()
    assert parts["distill_probabilities"].item() == pytest.approx(divergence, rel=1e-3)
    cosine = torch.nn.functional.cosine_similarity(embeddings, ideals, dim=1)
    assert parts["distill_embedding"].item() == pytest.approx(1 - cosine.mean().item(), rel=1e-3)
    assert {name: parts[name].item() for name in ("triplet", "harc")} == pytest.approx(
        {name: known[name].item() for name in ("triplet", "harc")}
    )
    weights = {"cross_entropy": 1, "triplet": 0.4, "harc": 0.3, "distill_probabilities": 1, "distill_embedding": 0.5}
    assert total.item() == pytest.approx(sum(w * parts[name].item() for name, w in weights.items()), rel=1e-4)


def test_a_training_goes_through_them_and_goes_on_where_it_was_cut_off(taught, tmp_path):
    """Other pictures in the second epoch, other changes in each; the same ones where the training is resumed there."""
    seen = []
    plain = loop._Run._loss

    def loss(self, batch, more):
        seen.append(more[0])
        return plain(self, batch, more)

    options = replace(taught, recipe=replace(taught.recipe, epochs=3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop._Run, "_loss", loss)
        loop.train(replace(options, output=tmp_path / "whole"))
        whole, seen[:] = list(seen), []
        with killed_in(2), pytest.raises(KeyboardInterrupt):
            loop.train(replace(options, output=tmp_path / "cut"))
        loop.train(replace(options, output=tmp_path / "cut", resume=True))
    assert len(whole) == len(seen) == 3
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(whole[1], whole[2])
    for a, b in zip(whole, seen, strict=True):
        assert torch.equal(a, b)
    assert rows(tmp_path / "whole/history.csv") == rows(tmp_path / "cut/history.csv")


def test_a_training_says_what_it_learned_from(taught, tmp_path):
    more = [Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in taught.unlabelled]
    options = replace(taught, output=tmp_path / "student", unlabelled=tuple(more))
    loop.train(options)
    assert float(rows(options.output / "history.csv")[1]["loss_distill_probabilities"]) > 0
    folder = ModelFolder(options.output / "model")
    card = (folder.path / "README.md").read_text()
    assert "It followed its teachers on 12 pictures without their labels, too." in card
    assert "had been trained on" not in card
    assert folder.learned_before == set()
    pixels = {row["pixel_sha256"] for row in rows(options.output / "unlabelled.csv")}
    assert len(pixels) == 12
    assert seen_by(folder.path, "hushem", [*pixels, "other"]) == pixels
    other = replace(options, output=tmp_path, teachers=(taught.teachers[0].parent,))
    options.output.rename(tmp_path / "seed0-fold0")
    options = replace(options, output=tmp_path / "seed0-fold0")
    assert len(fold_options(other)) == 2
    (more[0] / "5.png").unlink()
    with pytest.raises(InputError, match=r"seed0-fold0/unlabelled\.csv: the pictures of --unlabelled"):
        fold_options(other)
    with pytest.raises(InputError, match=r"unlabelled\.csv: the pictures of --unlabelled are not what they were"):
        loop.train(replace(options, resume=True))


def test_published_pictures_are_known_by_their_pixels():
    pixels = [next(iter(read_manifest(name).values()))["pixel_sha256"] for name in MANIFESTS]
    assert data_sets_of(pixels) == list(MANIFESTS)
    assert data_sets_of([pixels[1], "x"]) == [MANIFESTS[1]]
    assert data_sets_of(["x"]) == []


def test_the_command_and_a_mistake(taught):
    command = training_command(taught, [0], "runs/x")
    assert command.startswith("python examples/distill.py runs/cv --dataset folder")
    assert "--unlabelled more/Pyriform more/Amorphous --" in command
    assert "--unlabelled-batch 5" in command
    with pytest.raises(InputError, match=r"--unlabelled .*: pictures without labels need a teacher"):
        check(replace(taught, teachers=()))
    again = RunOptions.from_config(taught.to_config(), taught.output)
    assert again.unlabelled == taught.unlabelled
    alone = replace(taught, unlabelled=())
    assert not {"unlabelled", "unlabelled_batch"} & alone.to_config().keys()  # as in runs before there was such a thing


def test_distill_finds_a_mistake_before_anything_is_trained(example, taught, tmp_path):
    teacher, output = taught.teachers[0].parent, tmp_path / "out"
    arguments = [teacher, *SMALL, "--epochs", 1, "--dataset", "folder", "--data-dir", taught.data_dir]
    run = example("distill.py", *arguments, "--output", output, "--unlabelled", tmp_path / "nowhere")
    assert run.returncode == 2
    assert "--unlabelled" in run.stderr
    assert "no such file or folder" in run.stderr
    assert not output.exists()
    run = example("distill.py", *arguments, "--output", output, "--unlabelled", *taught.unlabelled)
    assert run.returncode == 0, run.stderr
    assert "gain, points" in run.stdout
    shutil.rmtree(output / "alone/seed0-fold1")
    again = example("distill.py", *arguments, "--output", output, "--unlabelled", taught.unlabelled[0])
    assert again.returncode == 2
    assert "that run has unlabelled = " in again.stderr
    assert not (output / "alone/seed0-fold1").exists()
    with pytest.raises(InputError, match="distilled, and its teachers"):
        ship(output / "distilled", "madrnet_test_resnet.x", tmp_path / "hub")
    assert not (output / "alone/seed0-fold0/unlabelled.csv").exists()
    assert len(rows(output / "distilled/seed0-fold1/unlabelled.csv")) == 12
