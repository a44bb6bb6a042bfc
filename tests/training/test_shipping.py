"""A cross-validated recipe, trained on everything, as a model that others load by name."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from madrnet_timm.data.reading import images_below
from madrnet_timm.errors import InputError
from madrnet_timm.evaluation.calibration import calibrate
from madrnet_timm.evaluation.guarantee import guarantee
from madrnet_timm.files import read_csv
from madrnet_timm.hub.description import Description
from madrnet_timm.hub.model_folder import ModelFolder, save_model_folder
from madrnet_timm.hub.model_info import ModelInfo
from madrnet_timm.inference import Classifier
from madrnet_timm.models.pretrained import Published, published_models
from madrnet_timm.training.cross_validation import cross_validate
from madrnet_timm.training.ensemble import Ensemble
from madrnet_timm.training.recipe import PRESETS, Recipe
from madrnet_timm.training.run_config import RunConfig
from madrnet_timm.training.run_folder import RunFolder
from madrnet_timm.training.shipping import MODELS, Shipment, promise_anew, promises, ship, write_entry
from madrnet_timm.training.stored import cross_validated_config
from madrnet_timm.training.training_command import training_command
from tools.ship import same_classes

from .conftest import write_heads

HUB = Path(__file__).parents[2] / "hub"
NAME = "madrnet_test_resnet.drawn"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory, fresh_python):
    tmp = tmp_path_factory.mktemp("ship")
    heads = write_heads(tmp / "heads")
    recipe = Recipe(epochs=4, img_size=48, batch_size=8)
    options = RunConfig("madrnet_test_resnet", "folder", tmp / "cv", data_dir=heads, folds=2, recipe=recipe)
    cross_validate(options)
    (tmp / "models.yaml").write_text("# the head\nmadrnet_other.x:\n  revision: v1\n")
    where = ("--hub", tmp / "hub", "--models", tmp / "models.yaml", "--note", "The size was chosen on the first fold.")
    run = fresh_python("-m", "tools.ship", tmp / "cv", "--name", NAME, *where)
    assert run.returncode == 0, run.stderr
    return tmp


def test_the_card_quotes_the_cross_validation(shipped):
    card = (shipped / "hub" / NAME / "README.md").read_text()
    summary = json.loads((shipped / "cv" / "summary.json").read_text())
    mean, sd = 100 * summary["mean"]["accuracy"], 100 * summary["sd"]["accuracy"]
    assert f"Mean over the folds {mean:.1f} ± {sd:.1f} %" in card
    assert "Trained on all images after a cross-validation" in card
    assert f'Classifier("{NAME}")' in card
    assert f'timm.create_model("{NAME}", pretrained=True)' in card
    assert "The size was chosen on the first fold. The temperature of the calibration" in card
    auc, error = summary["pooled"]["auc"], summary["pooled"]["calibration_error"]
    assert f"| AUC (macro, one against the rest) | {auc:.4f} |" in card
    assert f"| Expected calibration error, as trained | {error:.4f} |" in card
    assert f"--name {NAME} --models src/madrnet_timm/models/models.yaml" in card
    front = yaml.safe_load(card.split("---")[1])
    assert front["library_name"] == "timm"
    assert "license" not in front  # nobody chose one
    assert "| class | precision | recall | F1 | images |" in card
    assert "| Normal |" in card.split("| F1 | images |")[1].split("Controls")[0]
    assert front["model-index"][0]["name"] == NAME
    assert "![confusion matrix](confusion_matrix.png)" in card
    assert "| parameters | 0." in card
    metrics = {m["type"]: m["value"] for m in front["model-index"][0]["results"][0]["metrics"]}
    assert metrics["accuracy"] == pytest.approx(summary["pooled"]["accuracy"], abs=1e-4)
    assert str(shipped) not in card  # no path of this machine


def test_weights_are_halved_and_still_the_model(shipped):
    full, half = (load_file(shipped / p / "model.safetensors") for p in ("cv/final/model", f"hub/{NAME}"))
    assert full.keys() == half.keys()
    for key, value in full.items():
        assert half[key].dtype == (torch.float16 if value.ndim > 1 else value.dtype)
        assert torch.allclose(half[key].float(), value.float(), atol=1e-3, rtol=1e-3)
    files = images_below(shipped / "heads")
    a, b = (Classifier(shipped / p)(files) for p in ("cv/final/model", f"hub/{NAME}"))
    for x, y in zip(a, b, strict=True):
        assert x.probabilities["Normal"] == pytest.approx(y.probabilities["Normal"], abs=5e-3)


def test_the_tag_is_that_of_the_name(shipped):
    tags = [
        timm.create_model(f"local-dir:{shipped / p}").pretrained_cfg.get("tag")
        for p in ("cv/final/model", f"hub/{NAME}")
    ]
    assert tags == [None, "drawn"]
    for name in published_models():
        config = json.loads((HUB / name / "config.json").read_text())
        assert config["pretrained_cfg"]["tag"] == name.split(".")[1]


def test_it_was_trained_on_all_images(shipped):
    assert len((shipped / "cv/final/history.csv").read_text().splitlines()) == 5
    assert not (shipped / "cv/final/predictions.csv").exists()
    info = json.loads((shipped / "hub" / NAME / "config.json").read_text())["madrnet"]
    rows = [line.split(",") for line in (shipped / "hub" / NAME / "predictions.csv").read_text().splitlines()]
    head, rows = rows[0], rows[1:]
    columns = [head.index("p_Normal"), head.index("p_Tapered")]
    p = np.array([[float(row[c]) for c in columns] for row in rows])
    labels = [["Normal", "Tapered"].index(row[head.index("label")]) for row in rows]
    groups = [int(row[head.index("group")]) for row in rows]
    assert info["calibration"]["temperature"] == calibrate(p, labels, groups).temperature
    promised = guarantee(p, labels, groups)
    assert info["guarantee"]["cells"] == promised.cells == len(set(groups))
    found = ModelFolder(shipped / "hub" / NAME).info
    assert found.guarantee == promised
    assert found.threshold == promised.chosen.threshold
    assert sum(map(sum, info["confusion_matrix"])) == 16


def test_what_it_has_seen_is_shipped_with_it(shipped):
    """Hashes alone, of every image."""
    seen = (shipped / "hub" / NAME / "seen.csv").read_text().splitlines()
    rows = (shipped / "cv" / "final" / "folds.csv").read_text().splitlines()
    assert seen == ["pixel_sha256", *sorted({row.split(",")[0] for row in rows[1:]})]
    assert len(seen) == 17


def test_models_yaml(shipped):
    text = (shipped / "models.yaml").read_text()
    assert text.startswith("# the head\n")
    known = yaml.safe_load(text)
    assert known["madrnet_other.x"] == {"revision": "v1"}
    entry = known[NAME]
    for key, file in (("sha256", "model.safetensors"), ("config_sha256", "config.json")):
        assert entry[key] == hashlib.sha256((shipped / "hub" / NAME / file).read_bytes()).hexdigest()
    assert entry["cfg"]["label_names"] == ["Normal", "Tapered"]
    assert "license" not in entry["cfg"]
    assert entry["cfg"]["input_size"] == [3, 48, 48]
    assert (entry["default"], entry["images"], entry["dataset"]) == (True, 16, "folder")
    assert entry["size"] == (shipped / "hub" / NAME / "model.safetensors").stat().st_size
    write_entry(shipped / "models.yaml", replace(Published(NAME, **entry), revision="v2"))
    again = yaml.safe_load((shipped / "models.yaml").read_text())
    assert again[NAME] == entry | {"revision": "v2"}
    write_entry(shipped / "models.yaml", replace(Published(NAME, **entry), name="madrnet_test_resnet.a", default=False))
    assert "default" not in yaml.safe_load((shipped / "models.yaml").read_text())["madrnet_test_resnet.a"]


def test_promises_are_written_anew(tmp_path):
    """Into a folder that was shipped without; nothing else of it changes."""
    name = "madrnet_tf_efficientnet_lite0.hushem"
    folder, models = tmp_path / name, tmp_path / "models.yaml"
    folder.mkdir()
    for file in ("config.json", "predictions.csv", "model.safetensors"):
        shutil.copy(HUB / name / file, folder)
    shutil.copy(HUB.parent / MODELS, models)
    before = (folder / "config.json").read_bytes()
    config = json.loads(before)
    assert config["madrnet"].pop("guarantee")["cells"] == 203
    config["madrnet"]["calibration"] |= {"temperature": 1.0, "threshold": 0.9}
    (folder / "config.json").write_text(json.dumps(config))
    assert ModelFolder(folder).info.threshold == 0.9
    promise_anew(folder, replace(published_models()[name], config_sha256="0" * 64), models)
    assert (folder / "config.json").read_bytes() == before
    assert yaml.safe_load(models.read_text()) == yaml.safe_load((HUB.parent / MODELS).read_text())
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors", "predictions.csv"]


def test_cards_say_what_is_promised():
    few, enough = (
        " ".join((HUB / f"madrnet_tf_efficientnet_lite0.{tag}" / "README.md").read_text().split())
        for tag in ("hushem", "smids")
    )
    assert "at most 8 % of the heads on which it decides are wrong" in few
    assert "too few to promise 5 %; the least that they allow is 7.5 %" in few
    assert "at most 5 % of the heads on which it decides are wrong" in enough
    assert "too few" not in enough
    for card in (few, enough):
        assert "nothing is promised for another laboratory, stain or microscope" in card
        assert "measured on the models of the folds" in card


def test_the_command_makes_it_again(shipped):
    options = cross_validated_config(shipped / "cv")
    command = training_command(options, [0, 1], "runs/x")
    assert "--dataset folder" in command
    assert "--epochs 4" in command
    assert "--folds 2 --seeds 0 1" in command
    assert "--img-size 48" in command
    assert command.endswith("--output runs/x")
    entry = yaml.safe_load((shipped / "models.yaml").read_text())[NAME]["train"]
    assert entry.endswith(f"--output runs/ship && python -m tools.ship runs/ship --name {NAME} --models {MODELS}")
    licensed = replace(options, license="cc-by-4.0")
    assert training_command(licensed, [0], "runs/x").endswith("--license cc-by-4.0 --output runs/x")
    assert cross_validated_config(shipped / "cv").license is None
    taught = replace(options, teachers=("/x/a/seed0-fold0", "/x/b/seed0-fold0"), weights="/x/c/f/model")
    command = training_command(taught, [0], "runs/x")
    assert command.startswith("madrnet distill runs/a runs/b --dataset folder")
    assert "--weights runs/c/f/model" in command
    for given, said in (
        ("/x/lite0.safetensors", "lite0.safetensors"),
        ("/x/hub/madrnet_a.b/model.safetensors", "hub/madrnet_a.b/model.safetensors"),
        ("/x/y/mine/model.safetensors", "mine/model.safetensors"),
        ("/x/c/seed0-fold1/model/model.safetensors", "runs/c/seed0-fold1/model/model.safetensors"),
        ("/x/runs/smids/model/model.safetensors", "runs/smids/model/model.safetensors"),
    ):
        command = training_command(replace(options, backbone_weights=Path(given)), [0], "runs/x")
        assert f" --backbone-weights {said} --" in command
    paper = replace(options, recipe=replace(PRESETS["paper"], epochs=3), mixed_precision="bf16")
    command = training_command(paper, [0], "runs/x")
    launched = "accelerate launch --mixed_precision bf16 -m madrnet_timm.commands.cross_validate --dataset folder"
    assert command.startswith(launched)
    assert command.endswith("--recipe paper --epochs 3 --output runs/x")


def test_mistakes(shipped, tmp_path):
    with pytest.raises(InputError, match=r"models\.yaml of the package"):
        ship(Shipment(shipped / "cv", NAME, tmp_path, tmp_path / "m.yaml"))
    with pytest.raises(InputError, match="holds no cross-validation"):
        ship(Shipment(tmp_path, NAME, tmp_path, tmp_path / "m.yaml"))
    with pytest.raises(InputError, match=r"expected madrnet_test_resnet.<tag>"):
        ship(Shipment(shipped / "cv", "madrnet_resnet50.x", tmp_path, tmp_path / "m.yaml"))
    with pytest.raises(InputError, match=r"expected madrnet_test_resnet, of these classes"):
        ship(Shipment(shipped / "cv", NAME, tmp_path, final=HUB / "madrnet_tf_efficientnet_lite0.hushem"))

    for final in ("seed0-fold0", "seed0-fold0/model"):
        with pytest.raises(InputError, match="held out a fold; expected a model that was trained on all images"):
            ship(Shipment(shipped / "cv", NAME, tmp_path, final=shipped / "cv" / final))


def test_what_differs_in_the_final_training_is_said(shipped, tmp_path):
    """Whether its run is given, or the model in it."""
    options = cross_validated_config(shipped / "cv")
    final = replace(options, recipe=replace(options.recipe, epochs=9), teachers=("/x/runs/a/model",))
    RunFolder(tmp_path / "final").begin(replace(final, output=tmp_path / "final"), [{"file": "a", "fold": 0}])
    model = shutil.copytree(shipped / "cv" / "final" / "model", tmp_path / "final" / "model")
    for given in (tmp_path / "final", model):
        folder = ModelFolder(ship(Shipment(shipped / "cv", NAME, tmp_path / "hub", final=given)))
        assert "# runs/final: all images, epochs 9, teachers a\n" in (folder.path / "README.md").read_text()


def test_a_distilled_model_is_shipped_from_where_its_command_puts_it(shipped, tmp_path):
    copy = shutil.copytree(shipped / "cv", tmp_path / "distilled")
    for run in copy.glob("seed*-fold*"):
        config = RunFolder(run).read_config()
        replace(config, teachers=(f"/x/runs/a/{run.name}",)).write(run / "config.yaml")
    folder = ModelFolder(ship(Shipment(copy, NAME, tmp_path / "hub", final=shipped / "cv" / "final")))
    card = (folder.path / "README.md").read_text()
    assert "\nmadrnet distill runs/a --dataset folder" in card
    assert " --output runs/ship && python -m tools.ship runs/ship/distilled --name " in card


def test_a_final_model_that_was_trained_by_itself(shipped, tmp_path):
    shipment = Shipment(shipped / "cv", NAME, tmp_path, final=shipped / "cv" / "final", precision="bf16")
    folder = ModelFolder(ship(replace(shipment, base_model="timm/test_resnet.r160_in1k")))
    card, (full, half) = (
        (folder.path / "README.md").read_text(),
        (load_file(path / "model.safetensors") for path in (shipped / "cv/final/model", folder.path)),
    )
    assert {value.dtype for value in half.values() if value.ndim > 1} == {torch.bfloat16}
    assert all(torch.allclose(half[key].float(), full[key].float(), atol=1e-2, rtol=1e-2) for key in full)
    assert {value.dtype for value in folder.load().state_dict().values()} == {torch.float32, torch.int64}
    assert "--final runs/final --precision bf16 # runs/final: all images\n" in card
    assert "base_model: timm/test_resnet.r160_in1k\n" in card
    assert 'create_model("local-dir:path/to/this/folder", pretrained=True)' in card
    assert folder.seen == ModelFolder(shipped / "cv" / "final" / "model").seen
    with safe_open(folder.weights, framework="pt") as opened:
        about = opened.metadata()
    assert about.pop("madrnet_timm") == folder.info.version
    assert about == {
        "format": "pt", "architecture": "madrnet_test_resnet", "label_names": '["Normal", "Tapered"]',
        "input_size": "[3, 48, 48]", "pipeline": folder.pipeline,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("architecture", "before", "after"),
    [("madrnet_tf_efficientnet_lite0", "smids_ft_hushem", None), ("resnet10t", "c3_in1k", "c3_in1k")],
)
def test_a_model_does_not_keep_the_names_of_the_weights_it_began_with(architecture, before, after, tmp_path):
    """But timm's own keep their tag: some of them are built by it."""
    model = timm.create_model(architecture, num_classes=4)
    assert model.pretrained_cfg["tag"] == before
    config = timm.data.resolve_model_data_config(model)
    save_model_folder(model, tmp_path / "m", Description(architecture, list("abcd"), config, ModelInfo()), card="")
    saved = json.loads((tmp_path / "m" / "config.json").read_text())["pretrained_cfg"]
    assert saved["tag"] == after
    assert saved.get("label_names") is None  # they stand at the top level
    again = timm.create_model(f"local-dir:{tmp_path / 'm'}", pretrained=True)
    assert again.pretrained_cfg["label_names"] == list("abcd")


def test_measured_without_what_its_start_had_seen(run, tmp_path):
    """Such a cross-validation is shipped, and averaged with the linear model, as any other."""
    folder, heads, _ = run
    start = shutil.copytree(folder / "model", tmp_path / "start")
    seen = (start / "seen.csv").read_text().splitlines()
    (start / "seen.csv").write_text("\n".join(seen[:4]) + "\n")
    recipe = Recipe(epochs=1, img_size=48, batch_size=8)
    config = RunConfig("madrnet_test_resnet", "folder", tmp_path / "cv", heads, folds=2, recipe=recipe)
    cross_validate(replace(config, weights=str(start), leave_out_seen=True))
    held_out = read_csv(tmp_path / "cv" / "predictions.csv")
    assert len(held_out) == 28 - 3
    assert not {row["pixel_sha256"] for row in held_out} & set(seen[1:4])
    shipped = ModelFolder(ship(Shipment(tmp_path / "cv", NAME, tmp_path / "hub")))
    assert len(RunFolder(tmp_path / "cv" / "final").trained_on()) == 28
    card = (shipped.path / "README.md").read_text()
    assert " --leave-out-seen " in card
    assert " of 25 right" in card
    ensemble = Ensemble([tmp_path / "cv"])
    before = ensemble.rows()
    ensemble.add_measured()
    assert [row["file"] for row in ensemble.rows()] == [row["file"] for row in before]
    assert ensemble.rows() != before
    ensemble.replace_with(held_out_probabilities)
    again = {(row["fold"], row["file"]): row for row in ensemble.rows()}
    for row in held_out:
        assert again[int(row["fold"]), row["file"]]["p_Normal"] == pytest.approx(float(row["p_Normal"]), abs=2e-5)


def held_out_probabilities(model, images, names):
    classifier = Classifier(model)
    assert tuple(classifier.label_names) == tuple(names)
    return classifier.probabilities([classifier.prepare(image).view for image in images])


def test_promises_rest_on_outlined_heads_of_cells_that_were_held_out_alone():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([4, 1], 300).round(6)
    labels, groups, folds = rng.integers(0, 2, 300), np.arange(300) // 2, np.arange(300) // 2 % 3
    folds[20:40:2] = (folds[20:40:2] + 1) % 3  # ten cells on both sides
    outlined = rng.random(300) < 0.9
    rows = [
        {"seed": 0, "fold": fold, "file": f"{i}.png", "group": str(group), "label": "ab"[label]}
        | {"p_a": f"{a}", "p_b": f"{b}", "aspect_ratio": "1.7" if ok else ""}
        for i, (fold, group, label, (a, b), ok) in enumerate(zip(folds, groups, labels, p, outlined, strict=True))
    ]
    counted = outlined & ~np.isin(groups, np.arange(10, 20))
    calibration, promised = promises(rows, ["a", "b"])
    assert promised == guarantee(p[counted], labels[counted], groups[counted])
    assert calibration.images == counted.sum()
    assert calibration.temperature == calibrate(p[counted], labels[counted], groups[counted]).temperature
    assert promises([row | {"aspect_ratio": ""} for row in rows], ["a", "b"]) == (None, None)


def test_the_stored_weights_are_compared_by_the_model_s_class(shipped, tmp_path):
    """Which a model of two views has from both."""
    images = images_below(shipped / "heads")
    full, stored = (shutil.copytree(shipped / "hub" / NAME, tmp_path / name) for name in ("full", "stored"))
    weights, classifier = load_file(full / "model.safetensors"), Classifier(full)
    with torch.inference_mode():  # after so short a training all images would be of one class
        weights["classifier.bias"] -= classifier.model(classifier.tensors(images)).mean(0)
    save_file(weights, full / "model.safetensors")

    def same():
        one, other = ([prediction.label for prediction in Classifier(folder)(images)] for folder in (full, stored))
        return sum(a == b for a, b in zip(one, other, strict=True))

    by_one_view = same()
    for folder in (full, stored):
        config = json.loads((folder / "config.json").read_text())
        config["madrnet"] |= {"mixed_views": True, "second_view": "raw"}
        (folder / "config.json").write_text(json.dumps(config))
    assert same() != by_one_view
    assert same_classes(Shipment(shipped / "cv", NAME, tmp_path, final=full), stored) == (same(), len(images))
