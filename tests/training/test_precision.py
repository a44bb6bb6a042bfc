"""What is computed in float32 in a training with half precision."""

from copy import deepcopy

import timm
import torch
from torch import nn
from torch.nn import functional as F

import madrnet_timm  # noqa: F401
from madrnet_timm.training.precision import depthwise_in_float32


def depthwise_layers(model: nn.Module) -> list[nn.Conv2d]:
    return [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.groups == m.in_channels > 1]


def test_depthwise_convolutions_compute_in_float32_alone():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 5, padding=2, stride=2, groups=8))
    depthwise_in_float32(model)
    x = torch.randn(2, 3, 12, 12)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model[0](x)
        out = model[1](mixed)
    assert mixed.dtype == torch.bfloat16
    assert out.dtype == torch.float32
    expected = F.conv2d(mixed.float(), model[1].weight, model[1].bias, 2, 2, 1, 8)
    torch.testing.assert_close(out, expected, rtol=0, atol=0)


def test_a_model_keeps_its_weights_and_names_and_so_does_its_copy():
    model = timm.create_model("madrnet_tf_efficientnet_lite0", num_classes=3).eval()
    names, x = list(model.state_dict()), torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        before = model(x)
        depthwise_in_float32(model)
        torch.testing.assert_close(model(x), before, rtol=0, atol=0)
        copy = deepcopy(model)
        for layer in depthwise_layers(copy):
            layer.weight.zero_()
        torch.testing.assert_close(model(x), before, rtol=0, atol=0)  # the copy has weights of its own
        assert not torch.equal(copy(x), before)
    assert list(model.state_dict()) == names
    assert len(depthwise_layers(model)) == 16
