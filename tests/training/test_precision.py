"""What is computed in float32 in a training with half precision."""

from copy import deepcopy

import cv2
import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

import madrnet_timm  # noqa: F401
from madrnet_timm.data.normalization import normalized
from madrnet_timm.data.pipelines import prepare
from madrnet_timm.hub.model_folder import ModelFolder
from madrnet_timm.training.precision import depthwise_in_float32

from .conftest import SMALL, rows, write_heads


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


@pytest.mark.usefixtures("own_precision")
@pytest.mark.parametrize("average", ["0.98", "0"])
def test_what_is_trained_in_bf16_is_measured_in_float32_as_it_will_be_used(
    tmp_path, train_command, monkeypatch, average
):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    data = write_heads(tmp_path / "heads", per_class=12)
    args = ["--dataset", "folder", "--data-dir", data, "--output", tmp_path / "run", *SMALL, "--epochs", 2]
    assert train_command(*args, "--ema-decay", average) == 0
    folder, predictions = ModelFolder(tmp_path / "run" / "model"), rows(tmp_path / "run" / "predictions.csv")
    images = [cv2.imread(str(data / row["file"]))[:, :, ::-1] for row in predictions]
    views = torch.from_numpy(np.stack([prepare(image, "head-only", 48) for image in images])).permute(0, 3, 1, 2)
    config = folder.data_config
    with torch.inference_mode():
        logits = folder.load()(normalized(views, config["mean"], config["std"]))
    stored = [[float(row["p_Normal"]), float(row["p_Tapered"])] for row in predictions]
    np.testing.assert_allclose(stored, logits.softmax(dim=1).numpy(), atol=2e-5)  # bfloat16 is off by a hundred times
