"""Equations 2-10 against plain formulations, in float64, with loops where the models have none."""

import math

import pytest
import torch
from torch.nn import functional as F

from madrnet_timm.models import BilinearPool, DualAttention, ReversibleInteraction
from madrnet_timm.models.bilinear import signed_sqrt


def randomize(module: torch.nn.Module) -> torch.nn.Module:
    """Random parameters and running statistics, so that no zero scale or fresh norm hides a term."""
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.2, 1.0) if tensor.ndim == 1 else tensor.normal_(0, 0.3)
    return module.double().eval().requires_grad_(False)


def plain_attention(x: torch.Tensor, attn: DualAttention) -> torch.Tensor:
    """Eqs. 2-4, pixel by pixel."""
    batch, dim, height, width = x.shape
    reduce, expand = attn.channel_reduce.weight[:, :, 0, 0], attn.channel_expand.weight[:, :, 0, 0]
    out = torch.empty_like(x)
    for n in range(batch):
        gap = torch.stack([x[n, c].sum() / (height * width) for c in range(dim)])
        hidden = torch.relu(reduce @ gap + attn.channel_reduce.bias)
        a_c = 1 / (1 + torch.exp(-(expand @ hidden + attn.channel_expand.bias)))
        if attn.acrosome is not None:
            a_c = a_c / (1 + torch.exp(-(attn.acrosome.weight @ gap + attn.acrosome.bias)))
        padded = F.pad(x[n], (1, 1, 1, 1))
        for i in range(height):
            for j in range(width):
                logit = (padded[:, i : i + 3, j : j + 3] * attn.spatial.weight[0]).sum() + attn.spatial.bias[0]
                out[n, :, i, j] = x[n, :, i, j] * (a_c + 1 / (1 + torch.exp(-logit)))
    return out


@pytest.mark.parametrize("acrosome", [True, False])
def test_dual_attention_is_equations_2_to_4(acrosome):
    attn = randomize(DualAttention(18, acrosome=acrosome))
    x = torch.randn(2, 18, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(attn(x), plain_attention(x, attn), rtol=1e-12, atol=1e-12)


def plain_norm(x: torch.Tensor, norm: torch.nn.BatchNorm2d) -> torch.Tensor:
    shape = (1, -1, 1, 1)
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return (x - norm.running_mean.view(shape)) * scale.view(shape) + norm.bias.view(shape)


def plain_gelu(x: torch.Tensor) -> torch.Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("dim", [8, 9])
def test_reversible_interaction_is_equation_5(dim, share):
    r = randomize(ReversibleInteraction(dim, depth=3, share_coupling=share))
    x = torch.randn(2, dim, 4, 3, dtype=torch.float64)
    wide = (dim + 1) // 2
    x1, x2 = x[:, :wide], x[:, wide:]
    for i in range(3):
        k = 0 if share else i
        f = F.conv2d(plain_norm(x2, r.f.pre_norm[i]), r.f.conv[k].weight, padding=1)
        x1 = x1 + plain_gelu(plain_norm(f, r.f.norm[i]))
        g = F.conv2d(plain_attention(x1, r.g.attn[k]), r.g.conv[k].weight, padding=1)
        x2 = x2 + plain_gelu(plain_norm(g, r.g.norm[i]))
    torch.testing.assert_close(r(x), torch.cat([x1, x2], 1), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dim", [8, 9])
@pytest.mark.parametrize("depth", [1, 3, 6])
def test_inverse_is_equation_6(dim, depth):
    r = randomize(ReversibleInteraction(dim, depth=depth))
    x = torch.randn(2, dim, 5, 5, dtype=torch.float64)
    y = r(x)
    assert (y - x).abs().max() > 0.1
    torch.testing.assert_close(r.inverse(y), x, rtol=1e-10, atol=1e-10)


def test_inverse_refuses_train_mode():
    r = ReversibleInteraction(8)
    with pytest.raises(RuntimeError, match="eval"):
        r.inverse(torch.randn(1, 8, 4, 4))


def test_reversible_interaction_starts_as_identity_and_learns():
    r = ReversibleInteraction(8).train()
    x = torch.randn(4, 8, 5, 5)
    y = r(x)
    assert torch.equal(y, x)
    (y * torch.randn_like(y)).sum().backward()
    for norm in [*r.f.norm, *r.g.norm]:
        assert norm.weight.grad.abs().max() > 0


def test_shared_coupling_does_not_grow_with_depth_but_for_norms():
    def count(depth, share):
        return sum(p.numel() for p in ReversibleInteraction(32, depth, share).parameters())

    c = 16
    assert count(6, True) - count(3, True) == 3 * 6 * c
    weights = count(1, True) - 6 * c
    assert count(3, False) == 3 * (weights + 6 * c)


def test_bilinear_pool_is_equations_7_to_10():
    pool = randomize(BilinearPool(10, bilinear_dim=16, hidden_dim=6, num_features=5))
    x = torch.randn(3, 10, 4, 4, dtype=torch.float64)
    branches = []
    for branch in (pool.branch1, pool.branch2):
        projected = torch.einsum("oc,nchw->nohw", branch.proj.weight[:, :, 0, 0], x) + branch.proj.bias.view(
            1, -1, 1, 1
        )
        branches.append(plain_attention(projected, branch.attn).sum((2, 3)) / 16)
    expected = torch.empty(3, 5, dtype=torch.float64)
    for n in range(3):
        vector = []
        for i in range(16):
            for j in range(16):
                value = float(branches[0][n, i] * branches[1][n, j])
                vector.append(math.copysign(math.sqrt(abs(value) + 1e-5), value))
        hidden = pool.fc1.weight @ torch.tensor(vector, dtype=torch.float64) + pool.fc1.bias
        scale = pool.norm.weight / torch.sqrt(pool.norm.running_var + pool.norm.eps)
        hidden = torch.relu((hidden - pool.norm.running_mean) * scale + pool.norm.bias)
        expected[n] = pool.fc2.weight @ hidden + pool.fc2.bias
    torch.testing.assert_close(pool(x), expected, rtol=1e-9, atol=1e-9)


def test_signed_sqrt():
    x = torch.tensor([-4.0, 0.0, 9.0], dtype=torch.float64)
    expected = [-math.sqrt(4 + 1e-5), 0.0, math.sqrt(9 + 1e-5)]
    torch.testing.assert_close(signed_sqrt(x), torch.tensor(expected, dtype=torch.float64))
