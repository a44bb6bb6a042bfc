"""A student that follows its teachers on pictures without labels, too."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from madrnet_timm.data.sources import load, pictures
from madrnet_timm.errors import InputError
from madrnet_timm.hub.model_folder import ModelFolder
from madrnet_timm.training import loop
from madrnet_timm.training.cross_validation import cross_validate
from madrnet_timm.training.options import RunOptions, check, training_command
from madrnet_timm.training.recipe import Recipe
from madrnet_timm.training.unlabelled import unlabelled_records

from .conftest import killed_in, rows, write_heads

OTHERS = ("Normal_Sperm", "Abnormal_Sperm", "Non-Sperm")  # folders of SMIDS


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """Options of a student with a teacher, and with drawn heads in the place of SMIDS."""
    tmp = tmp_path_factory.mktemp("taught")
    heads = write_heads(tmp / "heads")
    recipe = Recipe(epochs=2, img_size=48, batch_size=8, unlabelled_batch=5)
    options = RunOptions("madrnet_test_resnet", "folder", tmp / "cv", data_dir=heads, folds=2, recipe=recipe)
    cross_validate(options)
    drawn = write_heads(tmp / "drawn", 6, ("Pyriform", "Amorphous", "Normal"))
    for place, name in zip(("Pyriform", "Amorphous", "Normal"), OTHERS, strict=True):
        (drawn / place).rename(drawn / name)
    return replace(
        options,
        output=tmp / "student",
        teachers=(tmp / "cv" / "seed0-fold0",),
        unlabelled="smids",
        unlabelled_dir=drawn,
    )


def test_pictures_without_a_head_and_held_out_ones(taught):
    records = unlabelled_records(taught, set())
    assert {name.split("/")[0] for name in records["file"]} == {"Normal_Sperm", "Abnormal_Sperm"}
    assert len(records) == 12
    held_out = load("folder", taught.data_dir)["pixel_sha256"]
    own = replace(taught, unlabelled="folder", unlabelled_dir=taught.data_dir)
    with pytest.raises(InputError, match=r"--unlabelled folder: holds 2 of the pictures that the student is measured"):
        unlabelled_records(own, held_out[:2])


def test_answers_are_the_teachers_of_the_unchanged_pictures(taught, tmp_path):
    """Whatever the order and the random changes are; each epoch has other pictures and other changes of them."""
    run = loop._Run(replace(taught, output=tmp_path / "run"))
    folder = ModelFolder(taught.teachers[0] / "model")
    teacher, config = folder.load(), folder.data_config
    from madrnet_timm.data.pipelines import prepare

    records = unlabelled_records(taught, set())
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
    run = loop._Run(replace(taught, output=tmp_path / "run"))
    batch, more = next(iter(run.loader)), next(run.unlabelled.epoch(0))
    run.model.train()
    with torch.no_grad():
        total, parts = run._loss(batch, more)
        images = run._input(torch.cat([batch["image"], more[0]]))
        logits = run.model(images)[0]
        told = torch.cat([run.teachers([images[:8]])[0][0], more[1][0][0]])
    assert len(logits) == 13
    smoothed = torch.full((8, 2), 0.05)
    smoothed[range(8), batch["label"]] += 0.9
    assert parts["cross_entropy"].item() == pytest.approx(
        -(smoothed * logits[:8].log_softmax(1)).sum(1).mean().item(), rel=1e-4
    )
    p, q = (told / 2).softmax(1), (logits / 2).softmax(1)
    divergence = 4 * (p * (p / q).log()).sum(1).mean().item()
    assert parts["distill_probabilities"].item() == pytest.approx(divergence, rel=1e-3)
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


def test_a_training_says_what_it_learned_from(taught):
    loop.train(taught)
    assert float(rows(taught.output / "history.csv")[1]["loss_distill_probabilities"]) > 0
    folder = ModelFolder(taught.output / "model")
    assert folder.learned_before == {"smids"}
    card = (folder.path / "README.md").read_text()
    assert "It followed its teachers on pictures of SMIDS, too, without their labels." in card


def test_the_command_and_a_mistake(taught):
    command = training_command(taught, [0], "runs/x")
    assert command.startswith("python examples/distill.py runs/cv --dataset folder")
    assert "--unlabelled smids --unlabelled-dir SMIDS" in command
    assert "--unlabelled-batch 5" in command
    with pytest.raises(InputError, match="--unlabelled smids: pictures without labels need a teacher"):
        check(replace(taught, teachers=()))
    again = RunOptions.from_config(taught.to_config(), taught.output)
    assert (again.unlabelled, again.unlabelled_dir) == ("smids", taught.unlabelled_dir)
