"""A frozen backbone and a support vector machine: nothing of a held-out image reaches what is fitted and chosen."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from datasets import ClassLabel, Dataset, Features, Value
from safetensors.torch import save_file
from sklearn.svm import SVC

from examples.studies.frozen import COSTS, GAMMAS, INNER_FOLDS, inner_accuracies, pooled_features, predicted, scaling
from madrnet_timm.data.folds import make_folds
from madrnet_timm.data.images import ImageDataset
from madrnet_timm.data.sources import load
from madrnet_timm.inference.transform import Transform
from tests.training.conftest import rows, write_heads

SCRIPT = "studies/frozen.py"
HUB = Path(__file__).parents[2] / "hub"


def records_of(labels, groups):
    """Records as far as folds need them."""
    kinds = {"label": ClassLabel(names=["a", "b"]), "group": Value("int64")}
    kinds |= {name: Value("string") for name in ("file", "pixel_sha256")}
    names = [f"{index:03}" for index in range(len(labels))]
    columns = {"label": labels, "group": groups, "file": names, "pixel_sha256": names}
    return Dataset.from_dict({key: list(value) for key, value in columns.items()}, Features(kinds))


@pytest.fixture
def drawn():
    """Features of two overlapping classes in two parts, missing values in the second."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 40)
    features = rng.normal(size=(80, 7)) + 1.2 * labels[:, None] * (np.arange(7) % 3 == 0)
    features[rng.random(80) < 0.2, 5] = np.nan
    return features, labels, np.arange(80) // 2


def test_held_out_images_touch_nothing(drawn):
    features, labels, groups = drawn
    folds = make_folds(records_of(labels, groups), 2)
    said, settings = predicted(features, (4, 3), records_of(labels, groups), folds, 1)
    assert np.mean(said == labels[folds == 1]) > 0.6
    other, rng = labels.copy(), np.random.default_rng(1)
    other[folds == 1] = rng.permutation(labels[folds == 1])
    moved, last = features.copy(), np.flatnonzero(folds == 1)[-1]
    moved[last] += 100  # of one image: what is said of the others stays
    again, settings_again = predicted(moved, (4, 3), records_of(other, groups), folds, 1)
    assert settings_again == settings
    assert (again[:-1] == said[:-1]).all()
    turned, _ = predicted(features, (4, 3), records_of(np.where(folds == 0, 1 - labels, labels), groups), folds, 1)
    assert (turned != said).mean() > 0.9  # those of the training images do count


def test_what_is_chosen_by_another_way(drawn):
    """By scikit-learn's own kernel on features that are scaled here."""
    features, labels, groups = drawn
    records = records_of(labels, groups)
    inner, right = make_folds(records, INNER_FOLDS), np.zeros((len(COSTS), len(GAMMAS)))
    for fold in range(INNER_FOLDS):
        train = features[inner != fold]
        scaled = np.nan_to_num((features - np.nanmean(train, 0)) / np.nanstd(train, 0))
        scaled /= np.sqrt([8, 8, 8, 8, 6, 6, 6])  # two parts of four and of three
        for place in np.ndindex(right.shape):
            machine = SVC(C=COSTS[place[0]], gamma=GAMMAS[place[1]]).fit(scaled[inner != fold], labels[inner != fold])
            right[place] += (machine.predict(scaled[inner == fold]) == labels[inner == fold]).sum()
    assert inner_accuracies(features, (4, 3), records) == pytest.approx(right / 80)
    folds = np.r_[np.zeros(80), 1].astype(int)  # all are trained on, and one more is asked
    x, more = np.vstack([features, features[:1]]), records_of([*labels, 0], [*groups, 99])
    _, settings = predicted(x, (4, 3), more, folds, 1)
    best = np.argwhere(right == right.max())[0]
    assert settings == (COSTS[best[0]], GAMMAS[best[1]])


def test_images_of_one_cell_stay_together_in_the_choice():
    """Labels at random, each cell twice: who sees the other image of a cell is always right."""
    rng = np.random.default_rng(0)
    features, labels = np.repeat(rng.normal(size=(60, 5)), 2, axis=0), np.repeat(rng.permutation([0, 1] * 30), 2)
    assert inner_accuracies(features, (5,), records_of(labels, np.arange(120) // 2)).max() < 0.7
    assert inner_accuracies(features, (5,), records_of(labels, np.arange(120))).max() > 0.9


def test_parts_are_as_heavy_as_each_other(drawn):
    features, *_ = drawn
    scaled = scaling((4, 3)).fit_transform(np.nan_to_num(features))
    assert scaled.var(axis=0) == pytest.approx([1 / 8] * 4 + [1 / 6] * 3)


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    save_file(timm.create_model("test_efficientnet").state_dict(), tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def test_features_are_means_over_the_last_map(tmp_path):
    heads = load("folder", write_heads(tmp_path / "heads", per_class=2))
    torch.manual_seed(0)
    model = timm.create_model("test_efficientnet", num_classes=2).eval()
    transform = Transform("aligned", 48, (0.5,) * 3, (0.25,) * 3)
    config = {"mean": transform.mean, "std": transform.std}
    found = pooled_features(model, ImageDataset(heads, "aligned", 48).views[0], config, batch_size=3)
    view = transform(heads[3]["image"])[None]
    with torch.no_grad():
        maps = [model.forward_features(x).double() for x in (view, view.flip(-1))]
    assert found[3] == pytest.approx(sum(one.mean((2, 3)) for one in maps)[0].numpy() / 2, rel=1e-4, abs=1e-6)
    assert found.shape == (4, maps[0].shape[1])


def test_table_and_refusals(example, weights, tmp_path):
    heads = write_heads(tmp_path / "drawn", per_class=12)
    base = ("--data-dir", heads, "--img-size", 48, "--folds", 2, "--output", tmp_path / "out.csv")
    base += ("--backbone-weights", weights, "--model")
    run = example(SCRIPT, *base, "test_efficientnet", "--features", "network", "measured", "--seeds", 0, 1)
    assert run.returncode == 0, run.stderr
    table = rows(tmp_path / "out.csv")
    assert list(table[0]) == ["seed", "fold", "file", "label", "prediction"]
    assert len({(row["seed"], row["file"]) for row in table}) == len(table) == 48
    assert all(row["file"].startswith(row["label"]) for row in table)
    right = sum(row["label"] == row["prediction"] for row in table)
    assert right > 40  # drawn heads are easily told apart by what is measured
    assert f"pooled: {right / 2:.4g} of 24 right" in run.stdout
    assert "of 4 folds" in run.stdout
    for model, words in (("madrnet_test_efficientnet", "expected a backbone"), ("test_resnet", "does not fit")):
        run = example(SCRIPT, *base, model)
        assert (run.returncode, run.stderr.count("\n")) == (2, 2), run.stderr  # the first says which data set
        assert words in run.stderr


def test_weights_that_have_seen_the_images(example, hushem_dir, tmp_path):
    for folder, name in (("01_Normal", "Normal"), ("02_Tapered", "Tapered")):
        (tmp_path / "heads" / name).mkdir(parents=True)
        for path in sorted((hushem_dir / folder).iterdir())[:2]:
            shutil.copy(path, tmp_path / "heads" / name)
    seen = HUB / "madrnet_tf_efficientnet_lite0.hushem" / "model.safetensors"
    run = example(
        SCRIPT, "--dataset", "folder", "--data-dir", tmp_path / "heads", "--folds", 2, "--backbone-weights", seen,
        "--output", tmp_path / "out.csv",
    )  # fmt: skip
    assert run.returncode == 2
    assert f"--backbone-weights {seen}: was trained on 2 of the 2 images" in run.stderr
    assert not (tmp_path / "out.csv").exists()
