"""Model folders from elsewhere: each loads, or is refused in one line that names the file, before anything is built."""

import copy
import json
import random
import resource
import shutil

import numpy as np
import pytest
import safetensors.torch
import timm
import torch

from madrnet_timm.errors import InputError
from madrnet_timm.hub.description import Description
from madrnet_timm.hub.model_config import ModelConfig
from madrnet_timm.hub.model_folder import ModelFolder, save_model_folder
from madrnet_timm.hub.model_info import ModelInfo
from madrnet_timm.hub.weights import load_backbone_weights, load_model_weights
from tests.inference.conftest import build_model

WRONG = [
    (("architecture",), "resnet0"),
    (("architecture",), "hf-hub:me/x"),
    (("architecture",), ["resnet18"]),
    (("label_names",), ["a", "a", "b", "c"]),
    (("label_names",), ["a", "", "b", "c"]),
    (("label_names",), ["a", "b\n", "c", "d"]),
    (("label_names",), ["a", "\ud800", "c", "d"]),
    (("label_names",), ["a", "b"]),
    (("label_names",), {"0": "a"}),
    (("num_classes",), 10**30),
    (("model_args", "depth"), 1_000_000_000),
    (("model_args", "depth"), -1),
    (("model_args", "depth"), 2.5),
    (("model_args", "depth"), True),
    (("model_args", "embed_dim"), 10**9),
    (("model_args", "bilinear_dim"), 8192),
    (("model_args", "num_classes"), 7),
    (("model_args", "in_chans"), 1),
    (("model_args", "img_size"), 100_000),
    (("model_args", "memory"), "disk"),
    (("model_args", "share_norms"), True),
    (("model_args", "drop_rate"), float("nan")),
    (("model_args", "backbone"), "hf-hub:someone/x"),
    (("model_args", "backbone"), "local-dir:/tmp"),
    (("model_args", "backbone"), "madrnet_resnet18"),
    (("model_args", "checkpoint_path"), "/tmp/x.pth"),
    (("model_args", "pretrained_cfg"), {"file": "x.pth"}),
    (("model_args", "pretrained_cfg_overlay"), {"url": "http://x"}),
    (("model_args", "cache_dir"), "/tmp"),
    (("model_args", "features_only"), True),
    (("model_args", "norm_layer"), "../../x"),
    (("pretrained_cfg",), 3),
    (("pretrained_cfg", "mean"), [0.5, float("inf"), 0.5]),
    (("pretrained_cfg", "std"), [0.5, 0.0, 0.5]),
    (("pretrained_cfg", "std"), [0.5, 0.5]),
    (("pretrained_cfg", "crop_pct"), 1e-9),
    (("pretrained_cfg", "crop_pct"), float("nan")),
    (("pretrained_cfg", "input_size"), [3, 64, 65]),
    (("pretrained_cfg", "input_size"), [1, 64, 64]),
    (("pretrained_cfg", "input_size"), [3, 100_000, 100_000]),
    (("pretrained_cfg", "input_size"), "large"),
    (("pretrained_cfg", "interpolation"), "magic"),
    (("pretrained_cfg", "num_classes"), 5),
    (("madrnet",), []),
    (("madrnet", "format"), 2),
    (("madrnet", "pipeline"), "straight"),
    (("madrnet", "dataset"), 3),
    (("madrnet", "learned_before"), "smids"),
    (("madrnet", "normal_class"), "Fine"),
    (("madrnet", "no_head_class"), "<script>"),
    (("madrnet", "accuracy"), 93),
    (("madrnet", "held_out"), "<script>alert(1)</script>"),
    (("madrnet", "held_out"), -1),
    (("madrnet", "confusion_matrix"), [[1, 2], [3, 4]]),
    (("madrnet", "confusion_matrix", 0, 0), "1"),
    (("madrnet", "domain", "head_lightness"), [float("-inf"), 3]),
    (("madrnet", "domain", "head_lightness"), [3, 1]),
    (("madrnet", "domain", "head_lightness"), None),
    (("madrnet", "calibration", "temperature"), 0),
    (("madrnet", "calibration", "temperature"), -1),
    (("madrnet", "calibration", "temperature"), float("nan")),
    (("madrnet", "calibration", "threshold"), float("nan")),
    (("madrnet", "calibration", "threshold"), 1.5),
    (("madrnet", "calibration", "images"), None),
    (("madrnet", "guarantee", "cells"), 0),
    (("madrnet", "guarantee", "level"), 95),
    (("madrnet", "guarantee", "wanted_risk"), float("nan")),
    (("madrnet", "guarantee", "candidates"), []),
    (("madrnet", "guarantee", "candidates", 0, "threshold"), 2),
    (("madrnet", "guarantee", "candidates", 0, "wrong"), 181),
    (("madrnet", "guarantee", "candidates", 1, "bound"), "low"),
    (("madrnet", "guarantee", "sets", "thresholds"), [0.1, 0.2]),
    (("madrnet", "guarantee", "sets", "own"), [True, False]),
    (("madrnet", "guarantee", "sets", "own"), [1, 1, 1, 1]),
    (("madrnet", "guarantee", "sets", "coverage"), -0.1),
]


def with_value(config, keys, value):
    out = copy.deepcopy(config)
    place = out
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return out


@pytest.fixture
def folder(model_dir, tmp_path):
    return shutil.copytree(model_dir, tmp_path / "m")


@pytest.fixture
def config(model_dir):
    return json.loads((model_dir / "config.json").read_text())


def refused(folder, config):
    """The message for a folder with such a config.json, which names the file in one line."""
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    with pytest.raises(InputError) as error:
        ModelFolder(folder)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(str(folder / "config.json"))
    assert len(message) < len(str(folder)) + 400
    return message


@pytest.mark.parametrize(("keys", "value"), WRONG, ids=lambda part: ascii(part)[:40])
def test_what_can_not_be_is_refused(folder, config, keys, value):
    message = refused(folder, with_value(config, keys, value))
    assert any(str(key) in message for key in (*keys, "labels"))


def test_files_that_are_no_config(folder, config):
    for text in ("", "[]", "null", "{", "[" * 100_000, '{"a": ' * 5000, " " * 5_000_000, '{"architecture": NaN}'):
        refused(folder, text)
    (folder / "config.json").write_bytes(b'{"architecture": "\xff"}')
    with pytest.raises(InputError, match=r"config\.json: not JSON"):
        ModelFolder(folder)


def test_unknown_keys_are_ignored_and_missing_ones_filled_in(folder, config):
    for keys in (("new",), ("pretrained_cfg", "new"), ("madrnet", "new"), ("madrnet", "calibration", "new")):
        config = with_value(config, keys, {"some": "thing"})
    config["pretrained_cfg"]["url"] = "http://127.0.0.1:9/x.pth"  # not where weights are looked for
    config["pretrained_cfg"]["custom_load"] = True
    (folder / "config.json").write_text(json.dumps(config))
    assert ModelFolder(folder).load().num_classes == 4
    bare = {key: config[key] for key in ("architecture", "num_classes")}
    (folder / "config.json").write_text(json.dumps(bare))
    found = ModelFolder(folder)
    assert found.label_names == ["0", "1", "2", "3"]
    assert (found.pipeline, found.calibration, found.domain, found.data_sets) == ("raw", None, {}, set())
    assert found.info.accuracy is None


def test_the_first_name_of_the_number_of_images_is_read(folder, config):
    calibration = config["madrnet"]["calibration"]
    calibration["pictures"] = calibration.pop("images") + 7
    (folder / "config.json").write_text(json.dumps(config))
    info = ModelFolder(folder).info
    assert info.calibration.images == calibration["pictures"] == 207
    written = info.to_config()["madrnet"]["calibration"]
    assert (written["images"], "pictures" in written) == (207, False)
    for value in (-1, "200"):
        assert "pictures" in refused(folder, with_value(config, ("madrnet", "calibration", "pictures"), value))


def test_the_threshold_of_an_older_model_stays(folder, config):
    """It was told from the images of its own accuracy, and promises nothing."""
    del config["madrnet"]["guarantee"]
    config["madrnet"]["calibration"] |= {"threshold": 0.7, "wanted_accuracy": 0.98, "coverage": 0.9, "accuracy": 0.98}
    (folder / "config.json").write_text(json.dumps(config))
    info = ModelFolder(folder).info
    assert (info.guarantee, info.threshold) == (None, 0.7)
    assert info.to_config()["madrnet"]["calibration"]["threshold"] == 0.7


def test_any_change_of_a_config_loads_or_is_one_line(config, tmp_path):
    """200 mutations with a fixed seed: a value anywhere replaced, removed, or moved."""
    rng = random.Random(0)
    strange = [
        None, True, False, 0, -1, 1, 10**9, 10**400, 0.5, -1e308, float("nan"), float("inf"), "", "x", "x" * 10_000,
        "\0", "\ud800", "../../etc/passwd", "hf-hub:me/x", [], [[]], {}, [None] * 3, {"a": {}}, ["a", "a"],
    ]  # fmt: skip
    path, outcomes = tmp_path / "config.json", {"read": 0, "refused": 0}

    def places(node, keys=()):
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            yield (*keys, key)
            if isinstance(child, dict | list):
                yield from places(child, (*keys, key))

    everywhere = list(places(config))
    for _ in range(200):
        mutated = config
        for _ in range(rng.choice((1, 1, 1, 3))):
            try:
                mutated = with_value(mutated, rng.choice(everywhere), rng.choice(strange))
            except (KeyError, IndexError, TypeError):  # an earlier change took the place away
                continue
        path.write_text(json.dumps(mutated))
        message = message_of(path)
        assert "\n" not in message
        assert not message or str(path) in message
        outcomes["refused" if message else "read"] += 1
    assert min(outcomes.values()) >= 10, outcomes


def message_of(path):
    """Why a config.json is refused; nothing where it is read."""
    try:
        ModelConfig.read(path)
    except InputError as error:
        return str(error)
    return ""


def rewrite(folder, change):
    """The weights of a folder, changed in place."""
    path = folder / "model.safetensors"
    state = safetensors.torch.load_file(path)
    change(state)
    safetensors.torch.save_file(state, path)


def put(name, value):
    def change(state):
        state[name].flatten()[0] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("classifier.weight", float("nan")), "classifier.weight has 1 of 512 numbers that are not finite"),
        (put("backbone.conv1.0.weight", float("inf")), r"backbone.conv1.0.weight has 1 of \d+ numbers that are not"),
        (put("embedding.1.running_var", -1.0), "running_var has 1 of 128 numbers that are negative"),
        (lambda s: s.update({"classifier.weight": s["classifier.weight"].to(torch.int8)}), "classifier.weight is I8"),
        (lambda s: s.pop("classifier.bias"), "classifier.bias is not in the file"),
        (lambda s: s.update(more=torch.zeros(1)), "more is not in that model"),
        (lambda s: s.update({"classifier.bias": torch.zeros(5)}), r"classifier.bias is \(5,\) in the file and \(4,\)"),
    ],
)
def test_weights_that_are_refused(folder, change, words):
    rewrite(folder, change)
    with pytest.raises(InputError, match=words) as error:
        ModelFolder(folder).load()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            put("classifier.weight", float("nan")),
            "model.safetensors: classifier.weight has 1 of 512 numbers that are not",
        ),
        (put("embedding.1.running_var", -1.0), "running_var has 1 of 128 numbers that are negative"),
        (lambda s: s.update({"classifier.weight": s["classifier.weight"].to(torch.int8)}), "classifier.weight is I8"),
    ],
)
def test_weights_that_timm_would_take_are_refused(folder, damage, words):
    rewrite(folder, damage)
    with pytest.raises(InputError, match=words):
        timm.create_model(f"local-dir:{folder}", pretrained=True)


def test_weights_that_are_refused_as_a_start(folder):
    model = build_model()
    for damage, words in (
        (put("backbone.conv1.0.weight", float("nan")), "not finite"),
        (lambda s: s.update({"backbone.conv1.0.weight": s["backbone.conv1.0.weight"].to(torch.int8)}), "is I8"),
    ):
        rewrite(folder, damage)
        for load in (load_backbone_weights, load_model_weights):
            with pytest.raises(InputError, match=words):
                load(model, folder / "model.safetensors")


def test_a_model_that_would_take_all_memory_is_not_built(folder, config):
    """Each argument within its bounds, gigabytes in all: seen by comparing an outline with the file's header."""
    config["model_args"] |= {"depth": 64, "share_coupling": False, "bilinear_dim": 1024, "embed_dim": 8192}
    (folder / "config.json").write_text(json.dumps(config | {"architecture": "madrnet_resnet50"}))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"does not fit the config\.json beside it"):
        ModelFolder(folder).load()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB; 1.2 billion weights take 5 GB


def test_arguments_that_do_not_go_together(folder, config):
    config["model_args"] |= {"output_stride": 8}
    config["architecture"] = "madrnet_test_vit"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        InputError, match=r"config.json: madrnet_test_vit can't be made with its model_args \(TypeError"
    ):
        ModelFolder(folder).load()


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    model = build_model()
    with torch.no_grad():
        model.classifier.bias[0] = np.nan
    config = timm.data.resolve_model_data_config(model)
    with pytest.raises(InputError, match=r"classifier\.bias has 1 of 4 numbers that are not finite"):
        save_model_folder(model, tmp_path / "m", Description("x", list("abcd"), config, ModelInfo()), card="")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    "kwargs",
    [
        {"depth": 65},
        {"embed_dim": 0},
        {"bilinear_dim": 4096},
        {"backbone": "local-dir:x"},
    ],
)
def test_bounds_of_the_constructor(kwargs):
    with pytest.raises(ValueError, match=f"{next(iter(kwargs))}="):
        timm.create_model("madrnet_test_resnet", **kwargs)


def test_models_from_when_norms_could_be_shared(folder, config):
    for shared in (False, True):
        config["model_args"]["share_norms"] = shared
        (folder / "config.json").write_text(json.dumps(config))
        if not shared:
            assert ModelFolder(folder).load().num_classes == 4
            assert timm.create_model(f"local-dir:{folder}", pretrained=True).num_classes == 4
    with pytest.raises(InputError, match="share_norms = True; expected false: each execution of R has its own"):
        ModelFolder(folder)
    with pytest.raises(ValueError, match="share_norms=True is gone"):
        timm.create_model(f"local-dir:{folder}", pretrained=True)


@pytest.mark.parametrize("key", ["checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay"])
def test_nothing_that_a_folder_names_is_opened_by_timms_way_either(folder, config, key):
    config["model_args"] = {**config.get("model_args", {}), key: str(folder / "x.pth")}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises((ValueError, TypeError), match=key):
        timm.create_model(f"local-dir:{folder}", pretrained=True)


def test_pretrained_names_are_those_that_load():
    from madrnet_timm.hub.lookup import find_weights

    names = timm.list_models("madrnet_*", pretrained=True)
    assert len(names) >= 5
    assert names == timm.list_pretrained("madrnet_*")
    for name in names:
        assert "." in name
        assert find_weights(name).is_file()
    plain = timm.get_pretrained_cfg("madrnet_resnet34")
    assert (plain.num_classes, plain.input_size, plain.label_names) == (1000, (3, 224, 224), None)
    assert timm.get_pretrained_cfg("madrnet_tf_efficientnet_lite0").tag == "smids_ft_hushem"
