"""Grad-CAM++ against its definition by nested loops and third derivatives on a toy network."""

import numpy as np
import pytest
import timm
import torch
from torch import nn

import madrnet_timm  # noqa: F401
from madrnet_timm.inference.gradcam import CellPositions, attention_maps, grad_cam_plus_plus


def by_definition(maps, head):
    """Eqs. 10 to 12 and 19 of the paper: derivatives of exp(score) by autograd, sums by loops, in float64.

    The score is linear in the maps, so that its own second derivative vanishes, as the paper assumes.
    """
    channels, height, width = maps.shape
    a = maps.clone().requires_grad_()
    output = head(a).exp()
    first = torch.autograd.grad(output, a, create_graph=True)[0]
    weights = []
    for k in range(channels):
        weight = 0.0
        third_sum = None
        for i in range(height):
            for j in range(width):
                second = torch.autograd.grad(first[k, i, j], a, create_graph=True)[0][k, i, j]
                third = torch.autograd.grad(second, a, retain_graph=True)[0][k, i, j]
                third_sum = float((maps[k] * third.detach()).sum())
                below = 2 * second.item() + third_sum
                alpha = second.item() / below if below else 0.0
                # relu of the derivative of the output; exp(score) is a common factor, taken out
                weight += alpha * max(first[k, i, j].item() / output.item(), 0.0)
        weights.append(weight)
    cam = np.maximum(sum(w * maps[k].numpy() for k, w in enumerate(weights)), 0)
    return cam / max(cam.max(), 1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_against_the_definition(seed):
    torch.manual_seed(seed)
    maps = torch.rand(3, 4, 5, dtype=torch.float64)
    linear = nn.Linear(60, 1).double()
    expected = by_definition(maps, lambda a: linear(a.flatten()).squeeze())
    gradients = linear.weight.detach().view(1, 3, 4, 5)
    assert grad_cam_plus_plus(maps[None], gradients)[0].numpy() == pytest.approx(expected, abs=1e-8)


def test_nothing_speaks_for_the_class():
    assert (grad_cam_plus_plus(torch.rand(2, 3, 4, 4), -torch.ones(2, 3, 4, 4)) == 0).all()


@pytest.mark.parametrize(
    ("kwargs", "stages"),
    [
        ({}, ["backbone", "reversible", "bilinear"]),
        ({"memory": "reversible"}, ["backbone", "reversible", "bilinear"]),
        ({"depth": 0}, ["backbone", "bilinear"]),
        ({"global_pool": "avg"}, ["backbone", "reversible"]),
    ],
)
def test_maps_of_a_model(kwargs, stages):
    model = timm.create_model("madrnet_test_resnet", num_classes=3, **kwargs).eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    x = torch.randn(2, 3, 64, 64)
    before = model(x)
    maps = attention_maps(model, x)
    assert list(maps) == stages
    for cam in maps.values():
        assert cam.shape == (2, 64, 64)
        assert 0 <= cam.min() <= cam.max() <= 1
    assert torch.equal(model(x), before)
    assert not any(module._forward_hooks for module in model.modules())


def test_the_backbones_maps_are_those_of_its_gradient():
    model = timm.create_model("madrnet_test_resnet", num_classes=3).eval()
    x = torch.randn(2, 3, 64, 64)
    features = model.to_map(model.backbone(x), *x.shape[-2:]).detach().requires_grad_()
    logits = model.forward_head(model.reversible(features))
    gradient = torch.autograd.grad(logits[0, 2] + logits[1, 0], features)[0]
    cam = grad_cam_plus_plus(features.detach(), gradient)
    found = attention_maps(model, x, classes=[2, 0])["backbone"]
    assert cam.shape == (2, 2, 2)
    assert torch.allclose(found[:, ::32, ::32], cam, atol=1e-5)  # a ResNet's cells look at pixels 0 and 32
    between = torch.lerp(cam[:, :, 0], cam[:, :, 1], 0.25)
    assert torch.allclose(found[:, ::32, 8], between, atol=1e-5)
    assert torch.equal(found[:, :, 32:], found[:, :, 32:33].expand(-1, -1, 32))  # nothing beyond the last


def test_a_plain_timm_model_has_no_stages():
    with pytest.raises(ValueError, match="need a MADRNet"):
        attention_maps(timm.create_model("test_resnet", num_classes=3).eval(), torch.randn(1, 3, 64, 64))


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("resnet10t", 160, (0, 32)),
        ("tf_mobilenetv3_small_minimal_100", 256, (31, 32)),
        ("tf_mobilenetv3_small_minimal_100", 112, (15, 32)),  # 7 to 4 is padded on both sides
        ("convnext_atto", 96, (15.5, 32)),
        ("vit_tiny_patch16_224", 224, (7.5, 16)),
        ("swin_tiny_patch4_window7_224", 224, (15.5, 32)),
    ],
)
def test_where_cells_look(name, size, expected):
    backbone = timm.create_model(name, num_classes=0).eval()
    positions = CellPositions(backbone)
    with torch.no_grad():
        backbone(torch.zeros(1, 3, size, size))
    cells = round(size / expected[1] + 0.01)
    assert positions.along(0, size, cells) == positions.along(1, size, cells) == expected


def test_where_cells_look_by_the_gradient():
    """Middle of the squared gradient of the inner cells, for both paddings; rows and columns of another size."""
    torch.manual_seed(0)
    for name, height, width, inner in (("resnet18", 160, 224, 3), ("tf_mobilenetv3_small_minimal_100", 256, 288, 4)):
        backbone = timm.create_model(name, num_classes=0).eval()
        positions = CellPositions(backbone)
        x = torch.randn(1, 3, height, width, requires_grad=True)
        features = backbone.forward_features(x)
        for axis, size in enumerate((height, width)):
            first, step = positions.along(axis, size, features.shape[2 + axis])
            (gradient,) = torch.autograd.grad(features.select(2 + axis, inner).sum(), x, retain_graph=True)
            weight = gradient[0].square().sum(dim=(0, 2 - axis))
            middle = float((weight * torch.arange(size)).sum() / weight.sum())
            assert first + inner * step == pytest.approx(middle, abs=5)
            assert (inner + 0.5) * size / features.shape[2 + axis] - 0.5 != pytest.approx(middle, abs=8)


def test_train_mode_and_inference_mode_are_refused_and_leave_the_model_as_it_was():
    model = timm.create_model("madrnet_test_resnet", num_classes=3).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(2, 3, 64, 64)
    with pytest.raises(RuntimeError, match=r"model\.eval\(\)"):
        attention_maps(model, x)
    model.eval().pool.train()  # a part of it
    with pytest.raises(RuntimeError, match=r"model\.eval\(\)"):
        attention_maps(model, x)
    model.eval()
    with torch.inference_mode():
        made_there = x.clone()
        with pytest.raises(RuntimeError, match=r"leave torch\.inference_mode"):
            attention_maps(model, x)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(part._forward_hooks for part in model.modules())
    expected = attention_maps(model, x)
    with torch.no_grad():
        found = attention_maps(model, made_there)
    assert all(torch.equal(found[stage], maps) for stage, maps in expected.items())
    assert not model.training
    assert all(param.grad is None for param in model.parameters())
