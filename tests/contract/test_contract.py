"""What timm expects of a family, with values, over one small backbone of each kind.

timm's own tests of shapes and gradients run in `test_timm_suite.py`; here it is the numbers.
"""

import copy
import math

import pytest
import timm
import torch
from timm.models import group_parameters, save_for_hf
from timm.optim import create_optimizer_v2
from torch import nn

import madrnet_timm  # noqa: F401
from examples.studies.live_bytes import LiveBytes

CONVOLUTIONAL = ["test_resnet", "test_efficientnet", "mobilenetv3_small_050", "test_convnext", "regnetx_002", "vgg11"]
CHANNELS_LAST = ["swin_tiny_patch4_window7_224", "test_mambaout"]
TOKENS = ["test_vit", "vit_tiny_r_s16_p8_224", "mixer_s16_224", "levit_128s"]  # the last keeps attention biases
LISTS = ["efficientvim_m1", "crossvit_tiny_240"]
FAMILIES = CONVOLUTIONAL + CHANNELS_LAST + TOKENS + LISTS
CHECKPOINTED = [name for name in FAMILIES if name not in ("vgg11", "crossvit_tiny_240", "levit_128s")]  # timm's raise


def create(backbone, **kwargs):
    torch.manual_seed(0)
    return timm.create_model(f"madrnet_{backbone}", **{"num_classes": 4, **kwargs})


def images(backbone, batch=2, **kwargs):
    _, *size = timm.get_pretrained_cfg(backbone).input_size
    return torch.randn(batch, kwargs.get("in_chans", 3), *size, generator=torch.Generator().manual_seed(1))


def away_from_identity(model):
    """R starts as the identity; give its norms a scale so that a test sees it."""
    for norm in (*model.reversible.f.norm, *model.reversible.g.norm):
        nn.init.normal_(norm.weight)
    return model


def as_map(features, model):
    """timm's features as NCHW, by the layout that the family states."""
    if features.ndim == 4:
        return features.permute(0, 3, 1, 2) if getattr(model, "output_fmt", "NCHW") == "NHWC" else features
    if features.shape[1] == model.num_features != features.shape[2]:
        features = features.transpose(1, 2)
    features = features[:, getattr(model, "num_prefix_tokens", 0) :]
    side = math.isqrt(features.shape[1])
    rows = [features[:, i * side : (i + 1) * side].transpose(1, 2) for i in range(side)]
    return torch.stack(rows, dim=2)


@pytest.mark.parametrize("backbone", CONVOLUTIONAL + CHANNELS_LAST + TOKENS)
def test_map_is_that_of_timms_own_model(backbone):
    model = create(backbone).eval()  # R is the identity
    plain = timm.create_model(backbone).eval()
    plain.load_state_dict(model.backbone.state_dict(), strict=False)
    x = images(backbone)
    with torch.no_grad():
        expected = as_map(plain.forward_features(x), plain)
        torch.testing.assert_close(model.forward_features(x), expected, rtol=1e-4, atol=1e-4)
        expected = away_from_identity(model).reversible(expected)
        torch.testing.assert_close(model.forward_features(x), expected, rtol=1e-4, atol=1e-4)


def test_map_of_several_branches():
    """CrossViT: both branches, averaged to the grid of the second, side by side."""
    model = create("crossvit_tiny_240", depth=0).eval()
    x = images("crossvit_tiny_240")
    with torch.no_grad():
        first, second = model.backbone.forward_features(x)
        out = model.forward_features(x)
    assert out.shape == (2, first.shape[2] + second.shape[2], 14, 14)
    torch.testing.assert_close(out[:, first.shape[2] :, 3, 7], second[:, 1 + 3 * 14 + 7])
    tokens = first[:, 1:].reshape(
        2, 20, 20, -1
    )  # cell (0, 0) of 14 averages the tokens 0 and 1 of 20 in each direction
    torch.testing.assert_close(out[:, : first.shape[2], 0, 0], tokens[:, :2, :2].mean((1, 2)))


@pytest.mark.parametrize("backbone", FAMILIES)
def test_one_channel(backbone):
    model = create(backbone, in_chans=1).eval()
    assert model.in_chans == 1
    first = model.pretrained_cfg["first_conv"]
    for name in [first] if isinstance(first, str) else first:
        assert model.get_submodule(name).weight.shape[1] == 1
    with torch.no_grad():
        assert model(images(backbone, in_chans=1)).shape == (2, 4)


@pytest.mark.parametrize(("backbone", "size"), [("test_vit", 96), ("swin_tiny_patch4_window7_224", 112)])
def test_img_size(backbone, size):
    model = create(backbone, img_size=size).eval()
    with torch.no_grad():
        features = model.forward_features(torch.randn(2, 3, size, size))
    assert features.shape == (2, model.num_features, *model.pool_size)
    assert model.pool_size[0] == model.pool_size[1] < timm.get_pretrained_cfg(backbone).input_size[1]


def test_img_size_is_refused_where_any_size_fits():
    with pytest.raises(TypeError):
        create("test_resnet", img_size=64)


@pytest.mark.parametrize("backbone", CHECKPOINTED)
def test_gradient_checkpointing_gives_the_same_gradients(backbone):
    grads, held = [], []
    smaller = {"img_size": 112} if backbone in ("swin_tiny_patch4_window7_224", "mixer_s16_224") else {}
    x = images(backbone).double()
    x = x[:, :, : smaller.get("img_size"), : smaller.get("img_size")]
    for enable in (False, True):
        model = create(backbone, dtype=torch.float64, proj_drop_rate=0.0, **smaller).train()
        model.set_grad_checkpointing(enable)
        assert model.grad_checkpointing == enable
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        with LiveBytes() as live:
            loss = model(x).square().sum()
            held.append(live.now)
        loss.backward()
        grads.append({n: p.grad for n, p in model.named_parameters()})
    assert held[1] < 0.8 * held[0]
    scale = max(float(g.abs().max()) for g in grads[0].values())
    for name, grad in grads[0].items():
        assert float((grads[1][name] - grad).abs().max()) <= 1e-9 * scale, name


@pytest.mark.parametrize("backbone", FAMILIES)
def test_layer_decay_falls_from_the_classifier_to_the_stem(backbone):
    """C at the full rate, then P, R, the backbone's last group and so on, one factor per step."""
    model = create(backbone, device="meta")
    optimizer = create_optimizer_v2(model, opt="sgd", lr=1.0, layer_decay=0.5)
    names = {id(p): n for n, p in model.named_parameters()}
    scale = {names[id(p)]: group["lr_scale"] for group in optimizer.param_groups for p in group["params"]}
    assert scale.keys() == set(names.values())
    assert {scale[n] for n in scale if n.startswith(("classifier", "embedding"))} == {1.0}
    assert {scale[n] for n in scale if n.startswith("pool")} == {0.5}
    assert {scale[n] for n in scale if n.startswith("reversible")} == {0.25}
    assert max(scale[n] for n in scale if n.startswith("backbone.")) == 0.125
    first = model.pretrained_cfg["first_conv"]
    first = first if isinstance(first, str) else first[0]
    assert scale[f"{first}.weight"] == min(scale.values()) < 0.125


@pytest.mark.parametrize("backbone", FAMILIES)
def test_groups_of_the_backbone_are_its_own(backbone):
    model, plain = create(backbone, device="meta"), timm.create_model(backbone, device="meta")
    ours = group_parameters(model, model.group_matcher(), reverse=True)
    theirs = group_parameters(plain, plain.group_matcher(), reverse=True)
    pairs = {(theirs[n.removeprefix("backbone.")], ours[n]) for n in ours if n.startswith("backbone.")}
    order = sorted(pairs)
    assert len({a for a, _ in pairs}) == len(pairs) == len({b for _, b in pairs})
    assert [b for _, b in order] == sorted(b for _, b in pairs)


@pytest.mark.parametrize("backbone", ["test_vit", "swin_tiny_patch4_window7_224", "vit_tiny_r_s16_p8_224"])
def test_no_weight_decay_names_the_backbones_parameters(backbone):
    model, plain = create(backbone, device="meta"), timm.create_model(backbone, device="meta")
    assert model.no_weight_decay() == {f"backbone.{n}" for n in plain.no_weight_decay()}
    present = {n for n, _ in model.named_parameters()} & model.no_weight_decay()
    groups = create_optimizer_v2(model, opt="sgd", weight_decay=0.1).param_groups
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    assert not [n for n, p in model.named_parameters() if n in present and id(p) in decayed]


@pytest.mark.parametrize("backbone", ["test_resnet", "test_efficientnet", "test_convnext", "regnetx_002"])
@pytest.mark.parametrize("feature_cls", ["getter", "hook", "fx"])
def test_features_only_gives_the_models_maps(backbone, feature_cls):
    model = away_from_identity(create(backbone)).eval()
    only = timm.create_model(f"madrnet_{backbone}", features_only=True, feature_cls=feature_cls).eval()
    inner = {"getter": "model.", "hook": "body.", "fx": "graph_module."}[feature_cls]
    state = {f"{inner}{k}": v for k, v in model.state_dict().items()}
    missing = only.load_state_dict(state, strict=False).missing_keys
    assert missing == []
    x = images(backbone)
    with torch.no_grad():
        maps, expected = only(x), model.forward_intermediates(x, indices=4, intermediates_only=True)
    assert len(maps) == len(expected) == 4
    for one, other in zip(maps, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert only.feature_info.channels() == [m.shape[1] for m in maps]


@pytest.mark.parametrize("backbone", CHANNELS_LAST + TOKENS)
def test_features_only_of_other_layouts(backbone):
    only = timm.create_model(f"madrnet_{backbone}", features_only=True, out_indices=(0, -1)).eval()
    x = images(backbone)
    with torch.no_grad():
        maps = only(x)
    assert [m.shape[1] for m in maps] == only.feature_info.channels()
    assert [m.shape[-1] for m in maps] == [math.ceil(x.shape[-1] / r) for r in only.feature_info.reduction()]


@pytest.mark.parametrize("prune_norm", [True, False])
@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit", "levit_128s", "hiera_tiny_224"])
def test_pruned_model_ends_with_the_level(backbone, prune_norm):
    model = create(backbone).eval()
    x = images(backbone, batch=1)
    norm = not prune_norm and backbone != "hiera_tiny_224"  # which has no norm for its levels
    with torch.no_grad():
        model(x)  # families that keep something from run to run do it now
        expected = model.forward_intermediates(x, indices=[1], norm=norm, intermediates_only=True)[0]
    before = sum(p.numel() for p in model.parameters())
    assert model.prune_intermediate_layers([1], prune_norm=prune_norm) == [1]
    assert sum(p.numel() for p in model.parameters()) < before / 2
    with torch.no_grad():
        torch.testing.assert_close(model.forward_features(x), expected)
        torch.testing.assert_close(model(x), expected)
    assert model.num_features == expected.shape[1]
    assert model.pool_size == expected.shape[2:]


def test_stop_early_needs_intermediates_only():
    with pytest.raises(ValueError, match="intermediates_only=True"):
        create("test_resnet").forward_intermediates(torch.randn(1, 3, 96, 96), stop_early=True)


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit"])
def test_folder_written_by_timm_reloads_bit_equal_without_backbone_weights(backbone, tmp_path):
    model = away_from_identity(create(backbone, depth=2, bilinear_dim=16)).eval()
    model._model_args["pretrained_backbone"] = True  # as timm records it where the backbone began with weights
    save_for_hf(model, str(tmp_path), model_config={"label_names": ["a", "b", "c", "d"]}, safe_serialization=True)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()  # HF_HUB_OFFLINE: a fetch would fail
    x = images(backbone)
    with torch.no_grad():
        assert torch.equal(again(x), model(x))
    assert again.pretrained_cfg["label_names"] == ["a", "b", "c", "d"]
    assert again.depth == 2


def test_own_weights_are_adapted_to_classes_and_channels(tmp_path):
    model = create("test_resnet").eval()
    save_for_hf(model, str(tmp_path), safe_serialization=True)
    adapted = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=7, in_chans=1)
    assert adapted.classifier.weight.shape[0] == 7
    first = model.get_submodule(model.pretrained_cfg["first_conv"]).weight
    torch.testing.assert_close(
        adapted.get_submodule(model.pretrained_cfg["first_conv"]).weight, first.sum(1, keepdim=True)
    )
    torch.testing.assert_close(adapted.pool.fc1.weight, model.pool.fc1.weight)


def test_backbone_weights_come_from_timms_table(tmp_path, monkeypatch):
    """``pretrained_backbone=True`` loads what timm knows for the backbone, nothing else."""
    from timm.models import get_pretrained_cfg
    from timm.models import resnet as family

    donor = timm.create_model("test_resnet").eval()
    path = tmp_path / "donor.pth"
    torch.save(donor.state_dict(), path)
    cfgs = copy.deepcopy(family.default_cfgs["test_resnet"].cfgs)
    for cfg in cfgs.values():
        monkeypatch.setattr(cfg, "file", str(path))
    monkeypatch.setattr(family.default_cfgs["test_resnet"], "cfgs", cfgs)
    tag = get_pretrained_cfg("test_resnet").tag
    from timm.models import _registry

    monkeypatch.setattr(_registry._model_pretrained_cfgs[f"test_resnet.{tag}"], "file", str(path))
    model = create("test_resnet", pretrained_backbone=True)
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, donor.state_dict()[name]), name


def test_replica_of_a_backbone_runs_its_own_layers():
    """As `torch.nn.DataParallel` makes them: nothing on the instance may be bound to the original."""
    model = create("test_convnext").eval()
    replica = model._replicate_for_data_parallel()
    replica.backbone = model.backbone._replicate_for_data_parallel()
    replica.backbone.stem = nn.Sequential(nn.Conv2d(3, model.backbone.stem[0].out_channels, 4, 4), nn.Identity())
    x = images("test_convnext")
    with torch.no_grad():
        assert not torch.equal(replica(x), model(x))


def test_reset_classifier_leaves_the_mode_of_the_backbone():
    model = create("test_resnet").train()
    model.backbone.eval()
    model.reset_classifier(3)
    assert not any(module.training for module in model.backbone.modules())
    assert model.classifier.training


def test_reset_classifier_restores_a_pooling():
    model = create("test_resnet").eval()
    model.reset_classifier(0, "")
    model.reset_classifier(3)
    assert model.global_pool == "bilinear"
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit"])
def test_compiled_model_agrees(backbone):
    model = away_from_identity(create(backbone)).eval()
    x = images(backbone)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(model, backend="aot_eager", fullgraph=True)(x), model(x))


def test_survives_copy_and_pickle(tmp_path):
    model = away_from_identity(create("test_convnext")).eval()
    x = images("test_convnext")
    other = copy.deepcopy(model)
    with torch.no_grad():
        for param in model.backbone.parameters():
            param.zero_()  # the copy must not share them
    torch.save(other, tmp_path / "model.pt")
    with torch.no_grad():
        expected = other(x)
        assert not torch.equal(model(x), expected)
        assert torch.equal(torch.load(tmp_path / "model.pt", weights_only=False)(x), expected)
