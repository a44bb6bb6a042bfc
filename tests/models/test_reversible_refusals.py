"""What the reversible engine takes, and what it refuses rather than answer wrongly."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

from madrnet_timm.models.reversible import MEMORY_MODES, ReversibleSequence, run_couplings

from .test_reversible import assert_same_step, sequence, step, streams

FRUGAL = [mode for mode in MEMORY_MODES if mode != "plain"]


@pytest.mark.parametrize("memory", FRUGAL)
@pytest.mark.parametrize("graph", [False, True], ids=["leaves", "computed"])
def test_parameters_that_are_exchanged_raise(memory, graph):
    """The second run would take the module's own in their place, and its gradients would be wrong in silence."""
    module = sequence(3, shared=False, memory=memory, keep_last=False, drop=0.0)
    others = {name: (1.2 * p).detach().requires_grad_() for name, p in module.named_parameters()}
    taken = {name: 1.5 * p for name, p in others.items()} if graph else others
    outputs = torch.func.functional_call(module, taken, tuple(streams()))
    with pytest.raises(RuntimeError, match=r"parameters were exchanged .* use memory='plain'"):
        sum(y.sum() for y in outputs).backward()
    module.memory = "plain"
    plain = torch.func.functional_call(module, taken, tuple(streams()))
    sum(y.sum() for y in plain).backward()
    assert all(p.grad is not None for p in others.values())


@pytest.mark.parametrize("memory", FRUGAL)
@pytest.mark.parametrize("keep_last", [False, True])
@pytest.mark.parametrize("backward_inside", [False, True])
def test_parametrizations_that_are_cached(memory, keep_last, backward_inside):
    """A weight that the first run, without a graph, puts there would have no gradient, also in the kept execution."""

    def grads(mode):
        torch.manual_seed(0)
        pair = weight_norm(nn.Linear(4, 3)), weight_norm(nn.Linear(3, 4))
        module = ReversibleSequence([pair] * 3, memory=mode, keep_last=keep_last).double()
        inputs = [torch.randn(5, width, dtype=torch.float64) for width in (3, 4)]
        with parametrize.cached():
            loss = sum(y.square().sum() for y in module(*inputs))
            if backward_inside:
                loss.backward()
        if not backward_inside:
            loss.backward()
        return [p.grad for p in module.parameters()]

    torch.testing.assert_close(grads(memory), grads("plain"))


class _Pooled(nn.Module):
    """A value for each channel, which is broadcast over the map."""

    def __init__(self, channels, out):
        super().__init__()
        self.mix = nn.Conv2d(channels, out, 1)

    def forward(self, x):
        return self.mix(x.mean((2, 3), keepdim=True))


@pytest.mark.parametrize("memory", FRUGAL)
def test_couplings_that_are_broadcast(memory):
    def module(mode):
        torch.manual_seed(0)
        couplings = [(_Pooled(2, 3), nn.Conv2d(3, 2, 1)), (nn.Conv2d(2, 3, 1), _Pooled(3, 2))]
        return ReversibleSequence(couplings, memory=mode, keep_last=False).double()

    def inputs():
        g = torch.Generator().manual_seed(1)
        return [torch.randn(2, c, 5, 4, generator=g, dtype=torch.float64).requires_grad_() for c in (3, 2)]

    assert_same_step(step(module(memory), inputs()), step(module("plain"), inputs()))


def test_exact_inverse_restores_every_bit():
    module = sequence(12, dtype=torch.float32, exact=True, drop=0.0).eval()
    inputs = [(x * 2**13).round() / 2**13 for x in streams(torch.float32, grad=False)]
    with torch.no_grad():
        outputs = module(*inputs)
    assert all(torch.equal(x, y) for x, y in zip(module.inverse(*outputs), inputs, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_exact_couplings_of_16_bits_are_refused(dtype):
    x = torch.randn(2, 3, 4, 4, dtype=dtype)
    with pytest.raises(RuntimeError, match="exact couplings need streams in float32"):
        run_couplings([(nn.Identity(), nn.Identity())], nn.Identity(), x, x, exact=True)
