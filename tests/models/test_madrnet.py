"""The assembled model and its registration with timm."""

import subprocess
import sys

import pytest
import timm
import torch

import madrnet_timm  # noqa: F401
from madrnet_timm.models import MADRNet

# one small backbone a route: NCHW, NHWC, tokens with and without prefix, list of tokens, list of maps without a grid
BACKBONES = [
    "test_resnet",
    "test_efficientnet",
    "mobilenetv3_small_050",
    "test_convnext",
    "test_mambaout",
    "test_vit",
    "test_vit_relpos",
    "vit_tiny_r_s16_p8_224",
    "gmlp_s16_224",
    "regnetx_002",
    "coat_tiny",
    "efficientvim_m1",
]


@pytest.mark.parametrize(
    ("name", "exact", "paper"), [("resnet50", 44_177_359, 44.35e6), ("efficientnet_b0", 12_346_995, 12.34e6)]
)
def test_parameter_counts(name, exact, paper):
    model = timm.create_model(f"madrnet_{name}", num_classes=4, device="meta")
    count = sum(p.numel() for p in model.parameters())
    assert count == exact
    assert abs(count / paper - 1) < 0.005


@pytest.mark.parametrize("backbone", BACKBONES)
def test_any_backbone_builds_and_learns(backbone):
    if not timm.is_model(backbone):
        pytest.skip("of a later timm")
    name = f"madrnet_{backbone}"
    size = timm.get_pretrained_cfg(name).input_size
    model = timm.create_model(name, num_classes=5).train()
    x = torch.randn(2, *size)
    features = model.forward_features(x)
    assert features.shape == (2, model.num_features, *model.pretrained_cfg["pool_size"])
    model(x).sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    model.eval()
    with torch.no_grad():
        assert model(x).shape == (2, 5)
        assert model.forward_head(model.forward_features(x), pre_logits=True).shape == (2, model.head_hidden_size)


def test_backbone_with_a_second_branch_runs():
    """Layers of CrossViT's other branch get no gradient from the map, but run all the same and must stay."""
    model = timm.create_model("madrnet_crossvit_tiny_240", num_classes=5).train()
    model(torch.randn(2, 3, 240, 240)).sum().backward()
    assert model.classifier.weight.grad is not None
    assert model.backbone.patch_embed[1].proj.weight.grad is not None


@pytest.mark.parametrize("backbone", ["test_mambaout", "test_vit"])
def test_map_of_other_layouts_is_the_backbones(backbone):
    """NHWC and token maps hold the value of the right place: against timm's own conversion."""
    model = timm.create_model(f"madrnet_{backbone}", num_classes=0, depth=0).eval()
    x = torch.randn(2, *timm.get_pretrained_cfg(backbone).input_size)
    with torch.no_grad():
        expected = model.backbone.forward_intermediates(x, indices=1, norm=True, intermediates_only=True)[0]
        torch.testing.assert_close(model.forward_features(x), expected)


@pytest.mark.parametrize(("height", "width"), [(224, 208), (112, 448), (224, 448), (448, 448)])
def test_tokens_of_oblong_images_lie_where_they_were_seen(height, width):
    model = timm.create_model("madrnet_vit_tiny_patch16_224", num_classes=0, depth=0, dynamic_img_size=True).eval()
    x = torch.randn(1, 3, height, width)
    with torch.no_grad():
        found = model.forward_features(x)
        (expected,) = model.backbone.forward_intermediates(x, indices=1, norm=True, intermediates_only=True)
    assert found.shape[2:] == (height // 16, width // 16)
    torch.testing.assert_close(found, expected)
    last, levels = model.forward_intermediates(x, norm=True)
    assert torch.equal(last, found)
    assert levels[0].shape[2:] == last.shape[2:]


@pytest.mark.parametrize("name", ["madrnet_tf_efficientnet_lite0", "madrnet_resnet50", "madrnet_efficientnet_b0"])
def test_pool_size_is_that_of_the_published_input_size(name):
    cfg = timm.get_pretrained_cfg(name)
    assert cfg.input_size == (3, 112, 112)
    model = timm.create_model(name).eval()
    with torch.no_grad():
        size = model.forward_features(torch.zeros(1, *cfg.input_size)).shape[2:]
    assert tuple(size) == tuple(cfg.pool_size) == tuple(model.pretrained_cfg["pool_size"]) == (4, 4)


def test_is_the_composition_of_equation_1():
    model = timm.create_model("madrnet_test_resnet", num_classes=4).eval()
    x = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        embedding = model.embedding(model.pool(model.reversible(model.backbone.forward_features(x))))
        torch.testing.assert_close(model(x), model.classifier(embedding))


def test_starts_with_r_as_identity():
    model = timm.create_model("madrnet_test_resnet", num_classes=4).eval()
    x = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(model.forward_features(x), model.backbone.forward_features(x))


def test_depth_0_and_avg_are_the_plain_head():
    model = timm.create_model("madrnet_test_resnet", num_classes=4, depth=0, global_pool="avg").eval()
    x = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        pooled = model.backbone.forward_features(x).mean((2, 3))
        torch.testing.assert_close(model(x), model.classifier(model.embedding(pooled)))
    other = timm.create_model("madrnet_test_resnet", num_classes=4, depth=0, bilinear_dim=0)
    assert other.state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("memory", ["checkpoint", "reversible"])
def test_memory_modes_give_plains_step(memory):
    results = []
    for mode in ("plain", memory):
        torch.manual_seed(0)
        model = timm.create_model("madrnet_test_resnet", num_classes=4, memory=mode, dtype=torch.float64).train()
        for norm in (*model.reversible.f.norm, *model.reversible.g.norm):  # away from the identity
            norm.weight.data.fill_(0.5)
        model(torch.randn(3, 3, 96, 96, dtype=torch.float64)).square().sum().backward()
        results.append(({n: p.grad for n, p in model.named_parameters()}, dict(model.named_buffers())))
    (grads, buffers), (own_grads, own_buffers) = results
    for name, grad in grads.items():
        torch.testing.assert_close(own_grads[name], grad, rtol=1e-8, atol=1e-8 * float(grad.abs().max()) + 1e-10)
    for name, buffer in buffers.items():
        assert torch.equal(own_buffers[name], buffer), name


@pytest.mark.filterwarnings("ignore:.*torch.jit.script. is deprecated:FutureWarning")
@pytest.mark.parametrize("memory", ["plain", "reversible"])
def test_script_trace_and_export(memory):
    from torchvision.models.feature_extraction import create_feature_extractor

    model = timm.create_model("madrnet_test_resnet", num_classes=4, memory=memory, scriptable=True).eval()
    x = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        expected = model(x)
    torch.testing.assert_close(torch.jit.script(model)(x), expected)
    graph = create_feature_extractor(model, return_nodes=["classifier"])
    assert torch.equal(graph(x)["classifier"], expected)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), expected)


def test_set_memory():
    model = timm.create_model("madrnet_test_resnet")
    model.set_memory("reversible")
    assert model.reversible.memory == "reversible"
    with pytest.raises(ValueError, match="memory='none'"):
        model.set_memory("none")


@pytest.mark.parametrize("memory", ["plain", "checkpoint", "reversible"])
def test_meta_device(memory):
    model = timm.create_model("madrnet_test_resnet", num_classes=4, memory=memory, device="meta").train()
    out = model(torch.empty(2, 3, 96, 96, device="meta"))
    assert out.shape == (2, 4)
    assert out.is_meta


def test_embedding_training_returns_both_in_train_mode_only():
    model = timm.create_model("madrnet_test_resnet", num_classes=4).train()
    model.set_embedding_training(True)
    x = torch.randn(3, 3, 96, 96)
    logits, embedding = model(x)
    assert logits.shape == (3, 4)
    assert embedding.shape == (3, 128)
    torch.testing.assert_close(model.classifier(embedding), logits)
    assert isinstance(model.eval()(x), torch.Tensor)


def test_reset_classifier():
    model = timm.create_model("madrnet_test_resnet", num_classes=4, dtype=torch.float64).eval()
    x = torch.randn(2, 3, 96, 96, dtype=torch.float64)
    model.reset_classifier(7)
    assert model(x).shape == (2, 7)
    assert model.classifier.weight.dtype == torch.float64
    model.reset_classifier(0)
    assert model(x).shape == (2, 128)
    model.reset_classifier(0, "")
    assert model(x).shape == (2, model.num_features, 3, 3)
    model.reset_classifier(3, "avg")
    assert model(x).shape == (2, 3)


def test_forward_intermediates_and_features_only():
    model = timm.create_model("madrnet_test_resnet").eval()
    x = torch.randn(1, 3, 96, 96)
    final, maps = model.forward_intermediates(x)
    torch.testing.assert_close(final, model.forward_features(x))
    assert [m.shape[1] for m in maps] == [level["num_chs"] for level in model.feature_info]
    torch.testing.assert_close(maps[-1], final)
    only = timm.create_model("madrnet_test_resnet", features_only=True, out_indices=(1, 3))
    assert [m.shape[1] for m in only(x)] == only.feature_info.channels()


def test_group_matcher_puts_every_parameter_into_its_part():
    from timm.models import group_parameters

    model = timm.create_model("madrnet_test_resnet", num_classes=4)
    groups = group_parameters(model, model.group_matcher(), reverse=True)
    assert groups[f"{model.pretrained_cfg['first_conv']}.weight"] == 0
    last = max(groups[name] for name in groups if name.startswith("backbone."))
    assert last < groups["reversible.f.conv.0.weight"] < groups["pool.fc1.weight"] < groups["classifier.weight"]


def test_group_matcher_of_a_family_that_gives_a_function():
    from timm.models import group_parameters

    model = timm.create_model("madrnet_inception_v3", num_classes=4, device="meta")
    groups = group_parameters(model, model.group_matcher(), reverse=True)
    assert groups["backbone.Conv2d_1a_3x3.conv.weight"] == 0
    assert groups["reversible.f.conv.0.weight"] < groups["pool.fc1.weight"] < groups["classifier.weight"]


def test_bad_arguments():
    with pytest.raises(TypeError):
        timm.create_model("madrnet_test_resnet", no_such_argument=1)
    with pytest.raises(ValueError, match="depth=-1"):
        timm.create_model("madrnet_test_resnet", depth=-1)
    with pytest.raises(ValueError, match="global_pool='max'"):
        timm.create_model("madrnet_test_resnet", global_pool="max")
    with pytest.raises(ValueError, match="pretrained_backbone"):
        timm.create_model("madrnet_test_resnet", pretrained=True, pretrained_backbone=True)


def test_every_architecture_has_a_name_with_its_backbones_input():
    names = [n for n in timm.list_models() if not n.startswith("madrnet_")]
    assert timm.list_models("madrnet_*") == timm.list_models(module="madrnet")
    assert len(timm.list_models("madrnet_*")) == len(names)
    for name in ("resnet18", "tf_efficientnet_lite2", "vit_base_patch16_224"):  # without weights of their own
        own, backbone = timm.get_pretrained_cfg(f"madrnet_{name}"), timm.get_pretrained_cfg(name)
        assert (own.mean, own.std, own.input_size) == (backbone.mean, backbone.std, backbone.input_size)
    assert timm.get_pretrained_cfg("madrnet_tf_efficientnet_lite0").mean == (0.5, 0.5, 0.5)


def test_import_is_light_quick_and_silent():
    code = """
import sys, time, warnings
warnings.simplefilter("error")
import timm
start = time.process_time()  # of the processor: the clock would count what else runs on the machine
import madrnet_timm
seconds = time.process_time() - start
import importlib
importlib.reload(madrnet_timm.models.madrnet)
heavy = "accelerate datasets evaluate sklearn matplotlib cv2 pandas".split()
print([m for m in heavy if m in sys.modules], seconds)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded, seconds = run.stdout.strip().rsplit(" ", 1)
    assert loaded == "[]"
    assert run.stderr == ""
    assert float(seconds) < 0.5


def test_is_a_timm_model():
    assert isinstance(timm.create_model("madrnet_test_resnet"), MADRNet)
    with pytest.raises(RuntimeError, match="No pretrained weights"):
        timm.create_model("madrnet_test_resnet", pretrained=True)


def test_made_and_pruned_in_inference_mode():
    """The gradients that tell which parameters are idle are asked for all the same."""
    reference = timm.create_model("madrnet_test_resnet")
    with torch.inference_mode():
        model = timm.create_model("madrnet_test_resnet")
        assert model.state_dict().keys() == reference.state_dict().keys()
        for each in (model, reference):
            each.prune_intermediate_layers([1], prune_head=True)
        assert model.state_dict().keys() == reference.state_dict().keys()
        assert model(torch.zeros(1, 3, 64, 64)).shape == reference(torch.zeros(1, 3, 64, 64)).shape


def test_inference_needs_no_training_library():
    code = """
import sys
import madrnet_timm.inference
print([m for m in "accelerate datasets evaluate sklearn matplotlib pandas".split() if m in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
