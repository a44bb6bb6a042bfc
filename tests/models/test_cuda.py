"""Engine and model on a GPU; skipped where there is none."""

import pytest
import timm
import torch

import madrnet_timm  # noqa: F401
from madrnet_timm.models.reversible import MEMORY_MODES

from .test_reversible import assert_same_step, loss_of, sequence, step, streams

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def step_on_gpu(module):
    """See `test_reversible.step`."""
    return step(module.cuda(), [x.detach().cuda().requires_grad_() for x in streams()])


@pytest.fixture
def _exact(monkeypatch):
    """The same algorithms twice, and float32 that is float32."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


@pytest.mark.usefixtures("_exact")
@pytest.mark.parametrize("memory", ["checkpoint", "reversible"])
@pytest.mark.parametrize("depth", [1, 3, 6])
def test_step_is_plain_autograds(memory, depth):
    """With dropout drawn from the GPU's generator, and drawn again in the backward pass."""
    plain = step_on_gpu(sequence(depth, memory="plain"))
    assert_same_step(step_on_gpu(sequence(depth, memory=memory)), plain)


@pytest.mark.usefixtures("_exact")
@pytest.mark.parametrize("memory", MEMORY_MODES)
def test_callers_randomness_is_left_alone(memory):
    module, inputs = sequence(memory=memory).cuda(), [x.detach().cuda() for x in streams()]
    torch.manual_seed(5)
    loss = sum(y.square().mean() for y in module(*inputs))
    before = torch.get_rng_state(), torch.cuda.get_rng_state()
    loss.backward()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.equal(torch.cuda.get_rng_state(), before[1])


def bytes_held(memory, depth):
    module = sequence(depth, memory=memory, dtype=torch.float32, drop=0.0).cuda()
    inputs = [x.detach().cuda() for x in streams(torch.float32, size=64)]
    sum(y.square().mean() for y in module(*inputs)).backward()  # gradients of the weights are there from now on
    before = torch.cuda.memory_allocated()
    loss = sum(y.square().mean() for y in module(*inputs))
    held = torch.cuda.memory_allocated() - before
    torch.cuda.reset_peak_memory_stats()
    loss.backward()
    return held, torch.cuda.max_memory_allocated() - before


def test_bytes_do_not_depend_on_the_executions():
    few, many = bytes_held("reversible", 3), bytes_held("reversible", 12)
    assert max(abs(a - b) for a, b in zip(few, many, strict=True)) < 0.02 * few[0]
    assert bytes_held("plain", 12)[0] > 3 * many[0]


def test_streams_stay_float32_under_autocast():
    inputs = [x.detach().cuda() for x in streams(torch.float32)]
    grads = {}
    for memory in ("plain", "reversible"):
        module = sequence(memory=memory, dtype=torch.float32, drop=0.0).cuda()
        with torch.autocast("cuda", torch.bfloat16):
            outputs = module(*[x.bfloat16() for x in inputs])
        assert {y.dtype for y in outputs} == {torch.float32}
        loss_of(outputs).backward()
        grads[memory] = torch.cat([p.grad.flatten() for p in module.parameters()])
    assert (grads["reversible"] - grads["plain"]).norm() < 0.02 * grads["plain"].norm()


@pytest.mark.usefixtures("_exact")
@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit", "test_convnext"])
def test_model_is_the_cpus(backbone):
    torch.manual_seed(0)
    model = timm.create_model(f"madrnet_{backbone}", num_classes=4).eval()
    x = torch.randn(2, *model.pretrained_cfg["input_size"])
    with torch.no_grad():
        expected = model(x)
        own = model.cuda().to(memory_format=torch.channels_last)(x.cuda()).cpu()
    torch.testing.assert_close(own, expected, rtol=1e-3, atol=1e-4)


def test_compiled_model_gives_the_same_loss():
    model = timm.create_model("madrnet_test_resnet", num_classes=4, memory="reversible", proj_drop_rate=0.0).cuda()
    model.train()
    x = torch.randn(4, 3, 96, 96, device="cuda")
    expected = model(x).square().mean()
    expected.backward()
    grads = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    own = torch.compile(model)(x).square().mean()
    own.backward()
    torch.testing.assert_close(own, expected, rtol=1e-2, atol=1e-4)
    scale = max(float(g.abs().max()) for g in grads)
    assert max(float((p.grad - g).abs().max()) for p, g in zip(model.parameters(), grads, strict=True)) < 0.05 * scale
