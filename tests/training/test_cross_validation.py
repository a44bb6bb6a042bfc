"""All folds and seeds of a recipe: kept when finished, summed up, compared."""

import csv
import json
import math
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
import yaml
from PIL import Image
from scipy.stats import t
from sklearn.linear_model import LogisticRegression

from madrnet_timm.errors import InputError
from madrnet_timm.evaluation.controls import shape_features
from madrnet_timm.evaluation.intervals import wilson_interval
from madrnet_timm.evaluation.summary import summarize_predictions
from madrnet_timm.files import write_csv
from madrnet_timm.inference import Classifier
from madrnet_timm.inference.explain import STAGES
from madrnet_timm.inference.gradcam import attention_maps
from madrnet_timm.training import cross_validation
from madrnet_timm.training.cross_validation import cross_validate
from madrnet_timm.training.recipe import Recipe
from madrnet_timm.training.run_config import RunConfig
from madrnet_timm.training.stored import CrossValidation, compare_runs, cross_validated_config, held_out_predictions
from madrnet_timm.training.train import train
from tools.store import store_run, store_table

from .conftest import rows, write_heads


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two cross-validations of two seeds and two folds; the first was cut off and given again."""
    tmp = tmp_path_factory.mktemp("cv")
    heads = write_heads(tmp / "heads")
    out, trained, real = [], [], cross_validation.train
    for name, epochs in (("short", 1), ("long", 3)):
        recipe = Recipe(epochs=epochs, img_size=48, batch_size=8)
        options = RunConfig("madrnet_test_resnet", "folder", tmp / name, data_dir=heads, folds=2, recipe=recipe)

        def train(run):
            trained.append((run.seed, run.fold))
            if len(trained) == 2:
                raise KeyboardInterrupt
            return real(run)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cross_validation, "train", train)
            if not out:
                with pytest.raises(KeyboardInterrupt):
                    cross_validate(options, (0, 1))
            out.append((tmp / name, cross_validate(options, (0, 1)), options))
    return out, trained


def test_finished_folds_are_kept(two):
    runs = [(seed, fold) for seed in range(2) for fold in range(2)]
    assert two[1] == [runs[0], runs[1], *runs[1:], *runs]


def test_summary(two):
    folder, table, _ = two[0][1]
    summary = json.loads((folder / "summary.json").read_text())
    metrics = [json.loads((folder / f"seed{s}-fold{f}/metrics.json").read_text()) for s in (0, 1) for f in (0, 1)]
    accuracies = [row["accuracy"] for row in metrics]
    assert [row["accuracy"] for row in summary["folds"]] == accuracies
    assert summary["mean"]["accuracy"] == pytest.approx(np.mean(accuracies))
    sd = np.std(accuracies, ddof=1)
    assert summary["sd"]["accuracy"] == pytest.approx(sd)
    assert summary["t_half_width"]["accuracy"] == pytest.approx(t.ppf(0.975, 1) * sd / np.sqrt(2))  # two folds per seed
    predictions = rows(folder / "predictions.csv")
    for seed in "01":
        assert len({row["file"] for row in predictions if row["seed"] == seed}) == 16
    right = sum(row["label"] == row["prediction"] for row in predictions)
    assert (summary["images"], summary["right"]) == (16, right / 2)
    assert summary["wilson"] == pytest.approx(wilson_interval(right / 2, 16))
    assert f"{right / 2:.4g} of 16 right" in table
    controls = {row["control background"] for row in summary["folds"]}
    assert controls == {row["controls"]["background"] for row in metrics}
    for name in ("learning_curves.png", "confusion_matrix.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_another_recipe_in_the_same_output_is_refused_before_training(two, monkeypatch):
    monkeypatch.setattr(cross_validation, "train", lambda run: pytest.fail("trained"))
    folder = two[0][0][0]
    options = replace(cross_validated_config(folder), output=folder)
    with pytest.raises(InputError, match="seed0-fold0: that run has epochs = 1, not 2"):
        cross_validate(replace(options, recipe=replace(options.recipe, epochs=2)), [7])


def test_stored_seeds_stay(two, tmp_path):
    """tools/store.py with the output of one seed more, or of another recipe."""
    (short, *_), (long, *_) = two[0]
    (tmp_path / "paper.yaml").write_text("best_epoch: {runs: [heads]}\npeers: {}\nsoup: {run: soup}\n")
    store_run(tmp_path, "heads", short, "drawn heads")
    names = ("heads.csv", "heads-epochs.csv", "runs.yaml")
    stored = [(tmp_path / name).read_text() for name in names]
    given = held_out_predictions(short)
    for kept, row in zip(held_out_predictions(tmp_path / "heads.csv"), given, strict=True):
        assert {key: kept[key] for key in ("seed", "fold", "file", "label", "prediction")}.items() <= row.items()
        assert float(kept["p_Normal"]) == pytest.approx(float(row["p_Normal"]), abs=5e-5)
    epochs = rows(tmp_path / "heads-epochs.csv")
    assert [(row["seed"], row["fold"], row["epoch"]) for row in epochs] == [(s, f, "1") for s in "01" for f in "01"]
    for row in epochs:
        history = rows(short / f"seed{row['seed']}-fold{row['fold']}" / "history.csv")
        assert float(row["accuracy"]) == pytest.approx(float(history[0]["accuracy"]), abs=5e-5)
    assert {(row["seed"], row["fold"]) for row in rows(tmp_path / "heads.csv")} == {(s, f) for s in "01" for f in "01"}
    for source, name in ((short, "same"), (long, "other")):
        for fold in (0, 1):
            shutil.copytree(source / f"seed1-fold{fold}", tmp_path / name / f"seed1-fold{fold}")
    store_run(tmp_path, "heads", tmp_path / "same", "drawn heads")
    assert [(tmp_path / name).read_text() for name in names] == stored
    with pytest.raises(InputError, match="was not trained as they were"):
        store_run(tmp_path, "heads", tmp_path / "other", "drawn heads")
    with pytest.raises(InputError, match="is stored as 'drawn heads'"):
        store_run(tmp_path, "heads", short, "others")
    for path in (tmp_path / "same").glob("*/config.yaml"):  # the division that others have published
        config = yaml.safe_load(path.read_text()) | {"folds": "elsewhere/published.csv"}
        path.write_text(yaml.safe_dump(config))
    store_run(tmp_path, "divided", tmp_path / "same", "on published folds")
    entry = yaml.safe_load((tmp_path / "runs.yaml").read_text())["divided"]
    assert entry["protocol"] == "published"
    assert not (tmp_path / "divided-epochs.csv").exists()  # which no page shows
    assert " --folds published.csv" in entry["command"]
    assert "elsewhere" not in entry["command"]
    shutil.copytree(long / "seed0-fold1", tmp_path / "part" / "seed0-fold1")  # a single fold, as of a long training
    store_run(tmp_path, "part", tmp_path / "part", "one fold")
    assert yaml.safe_load((tmp_path / "runs.yaml").read_text())["part"]["folds"] == [1]
    shutil.copytree(long / "seed1-fold0", tmp_path / "part" / "seed1-fold0")
    with pytest.raises(InputError, match=r"of seed 0 folds were not trained \(0\)"):
        store_run(tmp_path, "uneven", tmp_path / "part", "other folds of each seed")


def test_a_table_is_stored_with_the_folds_of_a_run(two, tmp_path):
    """tools/store.py with a table of madrnet ensemble."""
    (tmp_path / "paper.yaml").write_text("best_epoch: {runs: []}\npeers: {}\nsoup: {run: soup}\n")
    (short, *_), _ = two[0]
    store_run(tmp_path, "heads", short, "drawn heads")
    table = [row | {"prediction": "Tapered"} for row in held_out_predictions(short)]
    write_csv(tmp_path / "given.csv", table)
    store_table(tmp_path, "mean", tmp_path / "given.csv", "mean of both", "heads", "python a.py")
    kept = rows(tmp_path / "mean.csv")
    columns = ("seed", "fold", "file", "label")
    assert [[row[c] for c in columns] for row in kept] == [
        [row[c] for c in columns] for row in rows(tmp_path / "heads.csv")
    ]
    assert {row["prediction"] for row in kept} == {"Tapered"}
    entries = yaml.safe_load((tmp_path / "runs.yaml").read_text())
    assert entries["mean"] == {"title": "mean of both", "command": "python a.py"} | {
        key: entries["heads"][key] for key in ("dataset", "protocol", "classes")
    }
    before = (tmp_path / "runs.yaml").read_text()
    for changed, like, words in (
        (table, "nothing", "--like nothing: is not stored; expected one of heads, mean"),
        (table[1:], "heads", "not the images and classes that heads has"),
        ([row | {"prediction": "Round"} for row in table], "heads", "not the images and classes that heads has"),
        ([row | {"fold": 1 - int(row["fold"])} for row in table], "heads", "not the images and classes"),
    ):
        write_csv(tmp_path / "other.csv", changed)
        with pytest.raises(InputError, match=words):
            store_table(tmp_path, "other", tmp_path / "other.csv", "other", like, "python b.py")
    assert (tmp_path / "runs.yaml").read_text() == before


def test_a_single_fold_has_no_spread():
    said = [{"seed": 0, "fold": 2, "label": label, "prediction": "a"} for label in "aab"]
    summary = summarize_predictions(said, ["a", "b"])
    assert summary.mean["accuracy"] == pytest.approx(2 / 3)
    assert math.isnan(summary.sd["accuracy"])
    assert math.isnan(summary.t_half_width["accuracy"])


def test_seeds_divide_anew(two):
    folder = two[0][0][0]
    held_out = [{row["file"] for row in rows(folder / f"seed{seed}-fold0/predictions.csv")} for seed in range(2)]
    assert held_out[0] != held_out[1]


def test_comparison(verb, two):
    first, second = (folder for folder, _, _ in two[0])
    found = compare_runs(first, second)
    accuracies = [
        [row["accuracy"] for row in json.loads((f / "summary.json").read_text())["folds"]] for f in (first, second)
    ]
    assert found.difference == pytest.approx(np.mean(accuracies[1]) - np.mean(accuracies[0]))
    differences = np.subtract(accuracies[1], accuracies[0])
    sd = differences.std(ddof=1)
    half = t.ppf(0.975, 1) * sd * np.sqrt(1 / 2 + 1)  # two folds, as large as what they were trained on
    assert found.half_width == pytest.approx(half)
    run = verb("compare", first, second)
    assert run.returncode == 0, run.stderr
    assert f"p = {found.mcnemar_p:.3g}" in run.stdout
    assert "seeds: 0, 1" in run.stdout


def test_comparison_of_one_seed_and_of_a_table(two, tmp_path):
    first, second = (folder for folder, _, _ in two[0])
    shutil.copytree(second, tmp_path / "one")
    (tmp_path / "one/seed1-fold1/metrics.json").unlink()  # still trains
    with pytest.raises(InputError, match="seed1-fold1: not a finished run"):
        compare_runs(first, tmp_path / "one")
    found = compare_runs(first, tmp_path / "one", seeds=[0])
    assert found == compare_runs(first, second, seeds=[0])
    assert found.seeds == (0,)
    table = [{k: v for k, v in row.items() if k != "pixel_sha256"} for row in rows(second / "predictions.csv")]
    with (tmp_path / "table.csv").open("w", newline="") as opened:
        writer = csv.DictWriter(opened, table[0])
        writer.writeheader()
        writer.writerows(row for row in table if row["seed"] == "0")
    assert compare_runs(first, tmp_path / "table.csv") == found
    with pytest.raises(InputError, match="expected a CSV with the columns"):
        compare_runs(first, first / "confusion_matrix.png")
    with pytest.raises(InputError, match="holds no cross-validation of --seeds 3"):
        compare_runs(first, second, seeds=[3])


def test_mean_attention_of_held_out_heads(example, two, tmp_path):
    folder = two[0][0][0]
    run = example("studies/attention.py", folder, "--seed", 1, "--output", tmp_path / "attention.png")
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "attention.png").read_bytes().startswith(b"\x89PNG")
    heads, maps = Counter(), Counter()
    for fold in (0, 1):
        classifier = Classifier(folder / f"seed1-fold{fold}" / "model")
        for row in rows(folder / f"seed1-fold{fold}" / "predictions.csv"):
            with Image.open(folder.parent / "heads" / row["file"]) as opened:
                view = classifier.prepare(np.asarray(opened.convert("RGB"))).view
            heads[row["label"]] += 1
            for stage, cams in attention_maps(
                classifier.model, torch.from_numpy(classifier.normalized([view]))
            ).items():
                maps[row["label"], stage] += bool(cams.any())
    assert set(heads) == {"Normal", "Tapered"}
    for name, count in heads.items():
        told = ", ".join(f"{STAGES[stage]} {maps[name, stage]}" for stage in ("backbone", "reversible", "bilinear"))
        assert f"{name}: {count} heads; maps: {told}\n" in run.stdout


@pytest.mark.parametrize(
    ("seed", "change", "words"),
    [
        (7, {}, "--seed 7"),
        (1, {"pipeline: head-only": "pipeline: raw"}, "pipeline raw are not aligned"),
        (1, {"model: madrnet_test_resnet": "model: test_resnet"}, "test_resnet has no R and no P"),
    ],
)
def test_mean_attention_says_what_is_wrong(example, two, tmp_path, seed, change, words):
    folder = tmp_path / "short"
    shutil.copytree(two[0][0][0], folder)
    for config in folder.glob("seed*/config.yaml"):
        for old, new in change.items():
            assert old in config.read_text()
            config.write_text(config.read_text().replace(old, new))
    run = example("studies/attention.py", folder, "--seed", seed, "--output", tmp_path / "no.png")
    assert run.returncode == 2
    assert words in run.stderr
    assert not (tmp_path / "no.png").exists()


def probabilities(row):
    return np.array([float(row[f"p_{name}"]) for name in ("Normal", "Tapered")])


def table_in_another_order(folder, path):
    """What a cross-validation predicts, with its classes the other way round."""
    columns = ("seed", "fold", "file", "label", "prediction", "p_Tapered", "p_Normal")
    given = held_out_predictions(folder)
    write_csv(path, [{column: row[column] for column in columns} for row in given])
    return path


def of_the_mirrored_head(folder, seed, row):
    classifier = Classifier(folder / f"seed{seed}-fold{row['fold']}" / "model")
    with Image.open(folder.parent / "heads" / row["file"]) as opened:
        view = classifier.prepare(np.asarray(opened.convert("RGB"))).view
    x = torch.from_numpy(classifier.normalized([view[:, ::-1]]))
    with torch.inference_mode():
        return classifier.model(x).double().softmax(1)[0].numpy()


def test_ensemble_is_the_mean_of_the_probabilities(verb, two, tmp_path):
    """Of stored ones; of mirrored heads those of the model on the mirrored view; of a table with another order."""
    folders = [folder for folder, _, _ in two[0]]
    stored = [
        {
            (seed, fold, row["file"]): row
            for seed in range(2)
            for fold in range(2)
            for row in rows(folder / f"seed{seed}-fold{fold}" / "predictions.csv")
        }
        for folder in folders
    ]
    table = table_in_another_order(folders[1], tmp_path / "second.csv")
    for more, output in (
        (folders, "two.csv"),
        ([*folders, "--seeds", 1, "--mirror"], "mirror.csv"),
        ([folders[0], table], "table.csv"),
        ([table, folders[0]], "table first.csv"),
    ):
        run = verb("ensemble", *more, "--output", tmp_path / output)
        assert run.returncode == 0, run.stderr
    found = rows(tmp_path / "two.csv")
    assert len(found) == len(stored[0]) == 32
    assert rows(tmp_path / "table.csv") == found
    assert sorted(rows(tmp_path / "table first.csv"), key=str) == sorted(found, key=str)
    for row in found:
        key = int(row["seed"]), int(row["fold"]), row["file"]
        mean = np.mean([probabilities(table[key]) for table in stored], axis=0)
        assert probabilities(row) == pytest.approx(mean, abs=2e-6)
        assert row["prediction"] == ("Normal", "Tapered")[int(mean.argmax())]
    mirrored = rows(tmp_path / "mirror.csv")
    assert {row["seed"] for row in mirrored} == {"1"}
    row, total = mirrored[0], np.zeros(2)
    for folder, table in zip(folders, stored, strict=True):
        total += of_the_mirrored_head(folder, 1, row)
        total += probabilities(table[int(row["seed"]), int(row["fold"]), row["file"]])
    assert probabilities(row) == pytest.approx(total / 4, abs=1e-5)


def test_timms_own_transform_is_what_the_models_are_fed(example, two, tmp_path):
    folder, _, options = two[0][1]
    run = example("studies/timm_transform.py", folder, "--seeds", 1, "--output", tmp_path / "timm.csv")
    assert run.returncode == 0, run.stderr
    table = rows(tmp_path / "timm.csv")
    assert {(row["seed"], row["file"]) for row in table} == {
        ("1", row["file"]) for row in rows(folder / "predictions.csv") if row["seed"] == "1"
    }
    row = table[0]
    run_folder = folder / f"seed1-fold{row['fold']}"
    (own,) = [r for r in rows(run_folder / "predictions.csv") if r["file"] == row["file"]]
    by_the_pipeline = float(own["p_Normal"])
    model = timm.create_model(f"local-dir:{run_folder}/model", pretrained=True).eval()
    image = Image.open(options.data_dir / row["file"]).convert("RGB").resize((48, 48), Image.Resampling.BILINEAR)
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255 - torch.tensor(model.pretrained_cfg["mean"]).view(
        3, 1, 1
    )
    x = x / torch.tensor(model.pretrained_cfg["std"]).view(3, 1, 1)
    with torch.inference_mode():
        expected = model(x[None]).softmax(dim=1)[0]
    found = [float(row[f"p_{name}"]) for name in model.pretrained_cfg["label_names"]]
    assert found == pytest.approx(expected.tolist(), abs=1e-5)
    assert abs(found[0] - by_the_pipeline) > 1e-4
    assert f"{sum(r['label'] == r['prediction'] for r in table)} of {len(table)} right" in run.stdout


def test_ensemble_with_what_is_measured(verb, two, tmp_path):
    """One member more, fitted here by hand on what the fold's training images measure."""
    (folder, _, options), _ = two[0]
    same = table_in_another_order(folder, tmp_path / "same.csv")
    records, folds, _ = replace(options, seed=1).divided_records()
    values, train = np.nan_to_num(shape_features(records)), folds != 0
    values = (values - values[train].mean(0)) / np.where(values[train].std(0) > 0, values[train].std(0), 1)
    fitted = LogisticRegression(max_iter=2000).fit(values[train], np.array(records["label"])[train])
    measured = dict(zip(records["file"], fitted.predict_proba(values), strict=True))
    stored = {row["file"]: row for row in rows(folder / "seed1-fold0" / "predictions.csv")}
    for given, weight in (([folder], 1), ([same, folder], 2), ([folder, "--mirror"], 1)):
        run = verb("ensemble", *given, "--measured", "--output", tmp_path / "measured.csv")
        assert run.returncode == 0, run.stderr
        found = rows(tmp_path / "measured.csv")
        assert len(found) == 32
        held_out = [row for row in found if (row["seed"], row["fold"]) == ("1", "0")]
        assert len(held_out) == len(stored)
        for row in held_out:
            own = probabilities(stored[row["file"]])
            if "--mirror" in given:
                own = (own + of_the_mirrored_head(folder, 1, row)) / 2
            mean = (weight * own + measured[row["file"]]) / (weight + 1)
            assert probabilities(row) == pytest.approx(mean, abs=1e-4)


def test_ensemble_says_what_is_wrong(verb, two, tmp_path):
    folders, options = [folder for folder, _, _ in two[0]], two[0][0][2]
    given = held_out_predictions(folders[0])

    def table(name, change):
        """The first run's, of which some row is changed."""
        kept = ("seed", "fold", "file", "label", "prediction", "pixel_sha256", "p_Normal", "p_Tapered")
        write_csv(tmp_path / name, change([{column: row[column] for column in kept} for row in given]))
        return tmp_path / name

    def last(**changes):
        return lambda rows: [*rows[:-1], rows[-1] | changes]

    without = table("without.csv", lambda rows: [{k: v for k, v in row.items() if k[:2] != "p_"} for row in rows])
    (tmp_path / "latin.csv").write_bytes("seed,fold,file\n0,0,Kr\xf6te.png\n".encode("latin-1"))
    for runs, words in (
        (folders[:1], "--measured"),
        ([*folders, "--seeds", 7], "--seeds 7"),
        ([folders[0], without], "without.csv: has no probabilities"),
        ([folders[0], without, "--mirror"], "--mirror needs the models"),
        ([without, "--measured"], "--measured needs an output"),
        ([folders[0], folders[1] / "summary.csv"], "summary.csv: expected a CSV with the columns"),
        ([folders[0], tmp_path / "latin.csv"], "latin.csv: not in UTF-8; save it as CSV UTF-8"),
        ([folders[0], table("seed.csv", last(seed="x"))], "seed.csv, line 33: expected a seed, a fold"),
        ([folders[0], table("nan.csv", last(p_Normal="nan"))], "nan.csv, line 33: expected a seed, a fold"),
        ([folders[0], table("empty.csv", last(p_Tapered=""))], "empty.csv, line 33: expected a seed, a fold"),
        ([folders[0], table("seeds.csv", last()), "--seeds", 2], "--seeds 2"),
        ([folders[0], table("twice.csv", lambda rows: [*rows, rows[0]])], "twice.csv: has an image twice"),
        ([folders[0], table("label.csv", last(label="Wild"))], "label.csv: label Wild, expected one of"),
        ([folders[0], table("other.csv", last(file="other.png"))], "not the same images held out"),
        ([folders[0], table("pixels.csv", last(pixel_sha256="0"))], "has not the same pixel_sha256"),
        ([folders[0], table("labels.csv", last(label="Normal"))], "has not the same label"),
        ([folders[0], table("third.csv", lambda rows: [row | {"p_Wild": 0} for row in rows])], "not the same classes"),
    ):
        run = verb("ensemble", *runs, "--output", tmp_path / "no.csv")
        assert run.returncode == 2, words
        assert words in run.stderr
    heads, moved = tmp_path / "heads", tmp_path / "moved"
    shutil.copytree(options.data_dir, heads)
    shutil.copytree(folders[0], moved)
    for config in moved.glob("seed*/config.yaml"):
        config.write_text(config.read_text().replace(str(options.data_dir), str(heads)))
    first, second, *_ = sorted(heads.rglob("*.png"))
    shutil.copy(first, second)  # another image of that name
    run = verb("ensemble", moved, "--measured", "--output", tmp_path / "no.csv")
    assert run.returncode == 2
    assert f"{moved}: its images or folds (--data-dir {heads}" in run.stderr
    assert not (tmp_path / "no.csv").exists()


def test_comparison_needs_the_same_folds(two, tmp_path):
    first = two[0][0][0]
    with pytest.raises(InputError, match="holds no cross-validation"):
        compare_runs(first, tmp_path)
    (tmp_path / "seed0-fold0").mkdir()
    with pytest.raises(InputError, match="not a finished run"):
        compare_runs(first, tmp_path)
    shutil.copytree(first / "seed0-fold0", tmp_path / "seed0-fold0", dirs_exist_ok=True)
    with pytest.raises(InputError, match=r"of seed 0 folds were not trained \(1\); run .* with --seeds 0"):
        compare_runs(first, tmp_path)
    write_csv(tmp_path / "part.csv", CrossValidation.read(first).predictions[:-1])
    with pytest.raises(InputError, match="not the same images held out"):
        compare_runs(first, tmp_path / "part.csv")


def test_a_fold_that_was_begun_with_other_options(two):
    folder, _, options = two[0][0]
    other = RunConfig("madrnet_test_resnet", "folder", folder, options.data_dir, folds=2, recipe=Recipe(epochs=2))
    with pytest.raises(InputError, match="--resume needs the same options"):
        cross_validate(other, (0, 1))


def test_a_data_set_that_has_changed_since(two, tmp_path):
    """Neither are further folds trained beside those of the former images, nor are the two read as one."""
    folder, _, options = two[0][0]
    heads = shutil.copytree(options.data_dir, tmp_path / "heads")
    shutil.copytree(folder, tmp_path / "cv")
    moved = replace(options, data_dir=heads, output=tmp_path / "cv")
    assert cross_validate(moved, (0, 1))  # where they lie does not matter
    shutil.copy(heads / "Normal" / "0.png", heads / "Normal" / "99.png")
    shutil.rmtree(tmp_path / "cv" / "seed1-fold1")
    with pytest.raises(
        InputError, match=r"seed0-fold0/folds.csv: the images, their labels or their folds are not what"
    ):
        cross_validate(moved, (0, 1))
    fold = replace(moved, seed=1, fold=1, output=tmp_path / "cv" / "seed1-fold1")
    train(fold)
    with pytest.raises(InputError, match=r"seed1-fold1: trained on other images, labels or folds than the runs beside"):
        CrossValidation.read(tmp_path / "cv")


def test_other_runs_in_the_same_folder(two, tmp_path):
    """A run of other options, or one that was begun and not asked for, is never pooled silently."""
    folder, _, options = two[0][0]
    shutil.copytree(folder, tmp_path / "cv")
    config = tmp_path / "cv" / "seed1-fold0" / "config.yaml"
    config.write_text(config.read_text().replace("epochs: 1", "epochs: 7"))
    with pytest.raises(InputError, match="differs from the other runs in epochs"):
        CrossValidation.read(tmp_path / "cv")
    shutil.rmtree(tmp_path / "cv" / "seed1-fold0")
    with pytest.raises(InputError, match=r"of seed 1 folds were not trained \(0\)"):
        CrossValidation.read(tmp_path / "cv")
    (tmp_path / "cv" / "seed1-fold1" / "metrics.json").unlink()
    with pytest.raises(InputError, match="begun, but not finished and not asked for"):
        cross_validate(replace(options, output=tmp_path / "cv"), (0,))
    (tmp_path / "cv" / "seed1-fold1").rename(tmp_path / "cv" / "seed1-fold1-old")
    with pytest.raises(InputError, match="seed1-fold1-old: expected runs named seed<number>-fold<number>"):
        CrossValidation.read(tmp_path / "cv")
