"""Export: ONNX against ONNX Runtime, torch.export, TorchScript; R away from the identity, dynamic batch."""

import numpy as np
import pytest
import timm
import torch
from torch import nn

import madrnet_timm  # noqa: F401

BACKBONES = ["test_resnet", "test_vit", "test_mambaout"]


def model_of(backbone, **kwargs):
    model = timm.create_model(f"madrnet_{backbone}", num_classes=4, exportable=True, **kwargs).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model


def images(model, batch):
    return torch.randn(batch, *model.pretrained_cfg["input_size"], generator=torch.Generator().manual_seed(batch))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("memory", ["plain", "reversible"])
def test_onnx(backbone, memory, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model, path = model_of(backbone, memory=memory), tmp_path / "model.onnx"
    torch.onnx.export(
        model,
        (images(model, 2),),
        path,
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes={"x": {0: torch.export.Dim("batch")}},
        dynamo=True,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in (1, 2, 5):
        x = images(model, batch)
        with torch.no_grad():
            expected = model(x).numpy()
        np.testing.assert_allclose(session.run(None, {"image": x.numpy()})[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_torch_export_with_dynamic_batch(backbone):
    model = model_of(backbone)
    program = torch.export.export(
        model, (images(model, 2),), dynamic_shapes={"x": {0: torch.export.Dim("batch", min=1)}}
    )
    for batch in (2, 5):
        x = images(model, batch)
        with torch.no_grad():
            torch.testing.assert_close(program.module()(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("backbone", BACKBONES)
def test_torchscript_saves_and_loads(backbone, tmp_path):
    model = model_of(backbone, scriptable=True)
    torch.jit.script(model).save(tmp_path / "model.pt")
    loaded = torch.jit.load(tmp_path / "model.pt")
    for batch in (1, 3):
        x = images(model, batch)
        with torch.no_grad():
            torch.testing.assert_close(loaded(x), model(x), rtol=1e-4, atol=1e-5)
