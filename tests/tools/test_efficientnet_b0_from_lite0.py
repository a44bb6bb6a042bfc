"""EfficientNet-B0 from the weights of Lite0: what Lite0 computes, where activation, padding and epsilon are Lite0's."""

import pytest
import timm
import torch
from safetensors.torch import load_file

from madrnet_timm.errors import InputError
from tools.efficientnet_b0_from_lite0 import from_lite0


def lite0_with_statistics():
    torch.manual_seed(1)
    model = timm.create_model("tf_efficientnet_lite0")
    model.train()(torch.randn(4, 3, 64, 64))
    return model.eval()


def test_squeeze_excite_changes_nothing_yet():
    lite0 = lite0_with_statistics()
    b0 = timm.create_model("efficientnet_b0", act_layer="relu6", pad_type="same", bn_eps=1e-3).eval()
    b0.load_state_dict(from_lite0(lite0.state_dict()))
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(b0(x), lite0(x), rtol=1e-4, atol=1e-5)
    assert sum(".se." in name for name in b0.state_dict()) == 64


def test_the_file_that_a_training_takes(tmp_path, monkeypatch):
    from safetensors.torch import save_file

    from tools import efficientnet_b0_from_lite0 as tool

    save_file(lite0_with_statistics().state_dict(), tmp_path / "lite0.safetensors")
    output = tmp_path / "b0.safetensors"
    monkeypatch.setattr("sys.argv", ["tool", str(tmp_path / "lite0.safetensors"), "--output", str(output)])
    tool.main()
    timm.create_model("efficientnet_b0").load_state_dict(load_file(output))


def test_other_weights_are_refused():
    state = timm.create_model("test_efficientnet").state_dict()
    with pytest.raises(InputError, match="b0: expected the weights of timm's tf_efficientnet_lite0"):
        from_lite0(state, "b0")
