"""The reversible engine against plain autograd: every row of what public engines get wrong."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from examples.studies.live_bytes import LiveBytes
from madrnet_timm.models.attention import DualAttention
from madrnet_timm.models.reversible import MEMORY_MODES, ReversibleSequence

WIDE, NARROW = 5, 4  # an odd number of channels, split
FRUGAL = pytest.mark.parametrize("memory", ["checkpoint", "reversible"])


def make_f(drop=0.4):
    conv, mix = nn.Conv2d(NARROW, WIDE, 3, padding=1), nn.Conv2d(WIDE, WIDE, 1)
    return nn.Sequential(nn.GroupNorm(1, NARROW), conv, nn.GELU(), nn.Dropout(drop), mix)


def make_g():
    return nn.Sequential(DualAttention(WIDE), nn.Conv2d(WIDE, NARROW, 3, padding=1), nn.BatchNorm2d(NARROW), nn.GELU())


def sequence(depth=3, shared=True, memory="reversible", dtype=torch.float64, drop=0.4, **kwargs):
    torch.manual_seed(1)
    couplings = [(make_f(drop), make_g()) for _ in range(1 if shared else depth)]
    couplings = couplings * depth if shared else couplings
    return ReversibleSequence(couplings, memory=memory, **kwargs).to(dtype).train()


def streams(dtype=torch.float64, grad=True, seed=2, size=6):
    g = torch.Generator().manual_seed(seed)
    return [
        torch.randn(3, c, size, size, generator=g, dtype=torch.float64).to(dtype).requires_grad_(grad)
        for c in (WIDE, NARROW)
    ]


def loss_of(outputs):
    weights = [torch.linspace(-1, 1, y.numel(), dtype=y.dtype, device=y.device).view_as(y) for y in outputs]
    return sum((w * y).sum() + (y**2).mean() for w, y in zip(weights, outputs, strict=True))


def step(module, inputs, seed=3):
    """Loss, gradients of parameters and inputs, and buffers after one step."""
    torch.manual_seed(seed)
    loss = loss_of(module(*inputs))
    loss.backward()
    params = {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}
    return loss.detach(), params, [x.grad for x in inputs], {n: b.clone() for n, b in module.named_buffers()}


def assert_same_step(a, b, rtol=1e-10):
    torch.testing.assert_close(a[0], b[0], rtol=rtol, atol=0)
    assert a[1].keys() == b[1].keys()
    # one scale for all: a bias before batch norm has gradient zero
    scale = max(float(grad.abs().max()) for grad in [*b[1].values(), *filter(torch.is_tensor, b[2])])
    for name in a[1]:
        assert float((a[1][name] - b[1][name]).abs().max()) <= rtol * scale, name
    for x, y in zip(a[2], b[2], strict=True):
        if y is not None:
            assert float((x - y).abs().max()) <= rtol * float(y.abs().max())
    for name in b[3]:
        assert torch.equal(a[3][name], b[3][name]), name


@FRUGAL
@pytest.mark.parametrize("keep_last", [True, False])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("depth", [1, 3, 6])
def test_step_is_plain_autograds(memory, keep_last, shared, depth):
    """Gradients, dropout masks, loss and batch norm buffers, in float64."""
    plain = step(sequence(depth, shared, "plain"), streams())
    own = step(sequence(depth, shared, memory, keep_last=keep_last), streams())
    assert_same_step(own, plain)


@FRUGAL
def test_float32_to_rounding(memory):
    plain = step(sequence(memory="plain", dtype=torch.float32), streams(torch.float32))
    own = step(sequence(memory=memory, dtype=torch.float32), streams(torch.float32))
    assert_same_step(own, plain, rtol=1e-6)


@pytest.mark.parametrize("memory", MEMORY_MODES)
def test_callers_randomness_is_left_alone(memory):
    module = sequence(memory=memory)
    torch.manual_seed(5)
    loss = loss_of(module(*streams()))
    after_forward = torch.get_rng_state()
    loss.backward()
    assert torch.equal(torch.get_rng_state(), after_forward)


@FRUGAL
def test_inputs_are_left_alone_and_may_need_no_gradient(memory):
    inputs = streams(grad=False)
    before = [x.clone() for x in inputs]
    own = step(sequence(memory=memory), inputs)
    assert all(torch.equal(a, b) for a, b in zip(inputs, before, strict=True))
    assert_same_step(own, step(sequence(memory="plain"), streams(grad=False)))


@FRUGAL
@pytest.mark.parametrize("frozen", ["f", "g", ""])
def test_frozen_parts(frozen, memory):
    results = []
    for mode in ("plain", memory):
        module = sequence(memory=mode)
        for name, param in module.named_parameters():
            param.requires_grad_(not name.startswith(frozen))
        results.append(step(module, streams()))
    assert_same_step(*reversed(results))


class _Shift(nn.Module):
    """``x + a + b``: autograd hands out one tensor as the gradient of both parameters, and of the output."""

    def __init__(self, channels_in, channels_out):
        super().__init__()
        self.mix = nn.Conv2d(channels_in, channels_out, 1)
        self.a, self.b = (nn.Parameter(torch.randn(3, channels_out, 6, 6)) for _ in range(2))

    def forward(self, x):
        return self.mix(x) + self.a + self.b


@FRUGAL
def test_gradients_that_autograd_shares_are_not_added_up_in_place(memory):
    results = []
    for mode in ("plain", memory):
        torch.manual_seed(1)
        couplings = [(_Shift(NARROW, WIDE), _Shift(WIDE, NARROW))] * 4
        results.append(step(ReversibleSequence(couplings, memory=mode, keep_last=False).double(), streams()))
    assert_same_step(*reversed(results))


@FRUGAL
def test_two_live_graphs(memory):
    results = []
    for mode in ("plain", memory):
        module = sequence(memory=mode)
        torch.manual_seed(6)
        first, second = loss_of(module(*streams(seed=7))), loss_of(module(*streams(seed=8)))
        first.backward()
        second.backward()
        results.append({n: p.grad for n, p in module.named_parameters()})
    for name, grad in results[0].items():
        torch.testing.assert_close(results[1][name], grad, rtol=1e-9, atol=1e-12)


@FRUGAL
def test_autograd_grad_and_a_second_backward_pass_are_plain_autograds(memory):
    results = []
    for mode in ("plain", memory):
        module, inputs = sequence(memory=mode), streams()
        loss = loss_of(module(*inputs))
        leaves = [*module.parameters(), *inputs]
        first = torch.autograd.grad(loss, leaves, retain_graph=True)
        buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
        second = torch.autograd.grad(loss, leaves, retain_graph=True)
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
        loss.backward(retain_graph=True)
        loss.backward()
        for leaf, once in zip(leaves, first, strict=True):
            torch.testing.assert_close(leaf.grad, 2 * once, rtol=1e-12, atol=0)
        assert all(torch.equal(buffer, buffers[name]) for name, buffer in module.named_buffers())
        params = dict(zip(dict(module.named_parameters()), first, strict=False))
        results.append((loss.detach(), params, list(first[len(params) :]), buffers))
    assert_same_step(*reversed(results))


@FRUGAL
def test_hooks_fire_once(memory):
    module, fired = sequence(memory=memory), []
    for name, param in module.named_parameters():
        param.register_post_accumulate_grad_hook(lambda _, name=name: fired.append(name))
    loss_of(module(*streams())).backward()
    assert sorted(fired) == sorted(n for n, _ in module.named_parameters())


def test_in_place_change_of_a_parameter_raises():
    module = sequence(keep_last=False)
    loss = loss_of(module(*streams()))
    with torch.no_grad():
        next(module.parameters()).add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.filterwarnings("ignore:Using backward:UserWarning")
def test_second_derivatives_raise_both_ways():
    module = sequence(keep_last=False)
    inputs = streams()
    with pytest.raises(RuntimeError, match="memory='plain'"):
        torch.autograd.grad(loss_of(module(*inputs)), list(module.parameters()), create_graph=True)
    with pytest.raises(RuntimeError, match="memory='plain'"):
        loss_of(module(*inputs)).backward(create_graph=True)


def test_change_of_mode_raises():
    module = sequence(keep_last=False)
    loss = loss_of(module(*streams()))
    module.eval()
    with pytest.raises(RuntimeError, match="train/eval mode changed"):
        loss.backward()


@FRUGAL
def test_module_that_changes_its_own_buffers_is_refused(memory):
    torch.manual_seed(0)
    f = nn.utils.parametrizations.spectral_norm(nn.Conv2d(NARROW, WIDE, 1))
    module = ReversibleSequence([(f, nn.Conv2d(WIDE, NARROW, 1))] * 2, memory=memory).double().train()
    with pytest.raises(RuntimeError, match="_SpectralNorm changes its buffer"):
        module(*streams())


@FRUGAL
def test_recompute_restores_batch_norm_after_an_error(memory):
    module = sequence(memory=memory, keep_last=False)
    running_mean = module.g[0][2].running_mean
    loss = loss_of(module(*streams()))

    def broken(*_):
        raise ValueError("broken")

    handle = module.g[0][2].register_forward_hook(broken)
    with pytest.raises(ValueError, match="broken"):
        loss.backward()
    handle.remove()
    assert module.g[0][2]._buffers["running_mean"] is running_mean


@pytest.mark.parametrize("depth", [1, 3, 12])
def test_inverse(depth):
    module = sequence(depth).eval()
    inputs = streams(grad=False)
    with torch.no_grad():
        outputs = module(*inputs)
    for x, y in zip(module.inverse(*outputs), inputs, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-9)


def test_exact_couplings_restore_every_bit():
    module = sequence(12, dtype=torch.float32, exact=True, drop=0.0).eval()
    inputs = [(x * 2**13).round() / 2**13 for x in streams(torch.float32, grad=False)]
    with torch.no_grad():
        y1, y2 = module(*inputs)
        for f, g in reversed(module._couplings()):
            y2 = y2 - (g(y1) * 2**13).round() / 2**13
            y1 = y1 - (f(y2) * 2**13).round() / 2**13
    assert torch.equal(y1, inputs[0])
    assert torch.equal(y2, inputs[1])
    plain = step(sequence(6, memory="plain", exact=True), streams())
    assert_same_step(step(sequence(6, exact=True), streams()), plain, rtol=1e-9)


@pytest.mark.parametrize("memory", MEMORY_MODES)
def test_eval_mode_and_no_grad(memory):
    plain, own = sequence(memory="plain").eval(), sequence(memory=memory).eval()
    with torch.no_grad():
        for a, b in zip(own(*streams()), plain(*streams()), strict=True):
            assert torch.equal(a, b)
    assert_same_step(step(own, streams()), step(plain, streams()))


@FRUGAL
def test_autocast_keeps_float32_streams_and_replays_its_state(memory):
    results = []
    for mode in ("plain", memory):
        module = sequence(memory=mode, dtype=torch.float32, keep_last=False)
        inputs = [x.to(torch.bfloat16) for x in streams(torch.float32, grad=False)]
        torch.manual_seed(3)
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            outputs = module(*inputs)
        assert all(y.dtype == torch.float32 for y in outputs)
        loss_of(outputs).backward()  # outside of the context, as documented by torch
        results.append({n: p.grad for n, p in module.named_parameters()})
    for name, grad in results[0].items():
        assert float((results[1][name] - grad).abs().max()) <= 0.02 * max(float(grad.abs().max()), 1e-2), name


@FRUGAL
def test_autocast_raises_each_stream_to_float32(memory):
    module, (x1, x2) = sequence(memory=memory, dtype=torch.float32), streams(torch.float32, grad=False)
    with torch.autocast("cpu", torch.bfloat16):
        assert [y.dtype for y in module(x1, x2.to(torch.bfloat16))] == [torch.float32, torch.float32]


@FRUGAL
def test_replicas_of_data_parallel_keep_their_gradients(memory):
    """Their parameters are no leaves, so the reversible mode would lose them."""
    module = sequence(memory=memory, drop=0.0)
    module._is_replica = True
    for owner in list(module.modules()):
        for name, param in list(owner._parameters.items()):
            if param is not None:
                del owner._parameters[name]
                setattr(owner, name, param * 1)
    original = sequence(drop=0.0, memory="plain")
    weight = module.f[0][1].weight
    weight.retain_grad()
    loss_of(module(*streams())).backward()
    step(original, streams())
    torch.testing.assert_close(weight.grad, original.f[0][1].weight.grad)


@FRUGAL
def test_autocast_cache_does_not_cut_off_the_last_execution(memory):
    """Shared weights, cast first where no graph is recorded, then where one is."""
    module = sequence(memory=memory, dtype=torch.float32, drop=0.0)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = module(*streams(torch.float32))
    loss_of(outputs).backward()
    plain = sequence(dtype=torch.float32, drop=0.0, memory="plain")
    with torch.autocast("cpu", torch.bfloat16):
        loss_of(plain(*streams(torch.float32))).backward()
    for own, other in zip(module.parameters(), plain.parameters(), strict=True):
        assert float((own.grad - other.grad).abs().max()) <= 0.05 * max(float(other.grad.abs().max()), 1e-2)


def bytes_of_a_step(depth, memory, keep_last=False):
    """Bytes held between forward and backward, and at most during backward, by a census of live storages."""
    module = sequence(depth, memory=memory, dtype=torch.float32, drop=0.4, keep_last=keep_last)
    inputs = streams(torch.float32, size=64)  # so large that the random states, 5 kB a half step, are small beside it
    with LiveBytes() as live:
        loss = loss_of(module(*inputs))
        held = live.now
        live.peak = 0
        loss.backward()
    return held, live.peak


def test_bytes_do_not_grow_with_depth():
    """Held and peak, at depths 1, 3, 12 and 48: growth within 2 % of plain's.

    The peak grows once, from the first execution to the second: only then is there a rebuilt pair of streams.
    """
    own = {depth: bytes_of_a_step(depth, "reversible") for depth in (1, 3, 12, 48)}
    plain = {depth: bytes_of_a_step(depth, "plain") for depth in (1, 3, 12, 48)}
    for which, first in ((0, 1), (1, 3)):
        for depth in (3, 12, 48):
            growth = own[depth][which] - own[first][which]
            assert growth <= 0.02 * (plain[depth][which] - plain[first][which]), (depth, which)
    stream_bytes = 3 * (WIDE + NARROW) * 64 * 64 * 4
    assert own[3][0] < 4 * stream_bytes  # the outputs, and what the loss keeps
    assert plain[48][0] > 100 * stream_bytes


def test_keeping_the_last_execution_hardly_raises_the_peak():
    """Its graph is alive at the beginning of the backward pass anyway."""
    kept, rebuilt = bytes_of_a_step(12, "reversible", keep_last=True), bytes_of_a_step(12, "reversible")
    assert kept[0] > rebuilt[0]
    assert kept[1] <= 1.25 * rebuilt[1]  # two halves of one execution instead of one; plain at this depth: 10 times


@pytest.mark.skipif(sys.platform != "linux", reason="reads VmHWM of Linux")
def test_resident_memory_does_not_grow_with_depth(fresh_python):
    """In a process of its own each: one buffer for the random states, so that they don't pin freed blocks."""
    code = """
import sys, torch
from torch import nn
from madrnet_timm.models import ReversibleSequence
torch.set_num_threads(1)
half = lambda: nn.Sequential(nn.Conv2d(32, 32, 1), nn.GELU(), nn.Dropout(0.1))
module = ReversibleSequence([(f, g) for f, g in [(half(), half())] * int(sys.argv[1])], keep_last=False).train()
x = [torch.randn(8, 32, 64, 64, requires_grad=True) for _ in range(2)]
for _ in range(2):
    sum(y.square().sum() for y in module(*x)).backward()
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
"""
    kib = {depth: int(fresh_python("-c", code, depth).stdout) for depth in (3, 48)}
    plain = (48 - 3) * 2 * 3 * 4096  # KiB: outputs of convolution, GELU and dropout in each half step
    assert kib[48] - kib[3] < 0.03 * plain


def test_data_parallel_and_sharded():
    """DDP, DDP with accumulation, and FSDP2 around the whole sequence, in two gloo processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0"]
    root = Path(__file__).parents[2]
    env = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command += ["--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0", "-m", "tests.models.distributed_engine"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=root, env=env, timeout=120)
    assert run.returncode == 0, run.stderr[-3000:]
    differences = json.loads(run.stdout)
    assert differences.keys() == {"ddp", "ddp_accumulation", "fsdp2"}
    assert max(differences.values()) < 1e-10, differences


@FRUGAL
def test_compiled_step_is_right_with_two_graph_breaks_at_most(memory):
    plain = step(sequence(memory="plain", drop=0.0), streams())
    torch._dynamo.reset()
    assert torch._dynamo.explain(sequence(memory=memory, drop=0.0))(*streams()).graph_break_count <= 2
    for backend in ("eager", "aot_eager"):
        module = sequence(memory=memory, drop=0.0)
        torch._dynamo.reset()
        loss, _, grads, _ = step(torch.compile(module, backend=backend), streams())
        params = {n: p.grad for n, p in module.named_parameters()}
        assert_same_step((loss, params, grads, dict(module.named_buffers())), plain)


@pytest.mark.slow
@pytest.mark.parametrize("memory", MEMORY_MODES)
def test_step_compiled_by_inductor_is_right(memory):
    plain = step(sequence(memory="plain", drop=0.0), streams())
    module = sequence(memory=memory, drop=0.0)
    torch._dynamo.reset()
    loss, _, grads, _ = step(torch.compile(module), streams())
    params = {n: p.grad for n, p in module.named_parameters()}
    assert_same_step((loss, params, grads, {}), (*plain[:3], {}), rtol=1e-9)
    for name, buffer in module.named_buffers():  # inductor adds up in another order
        torch.testing.assert_close(buffer, plain[3][name], rtol=1e-12, atol=1e-14)


@FRUGAL
def test_channels_last(memory):
    results = []
    for mode in ("plain", memory):
        module = sequence(memory=mode, drop=0.0).to(memory_format=torch.channels_last)
        inputs = [x.detach().to(memory_format=torch.channels_last).requires_grad_() for x in streams()]
        results.append(step(module, inputs))
        assert inputs[0].grad.is_contiguous(memory_format=torch.channels_last)
    assert_same_step(*reversed(results))
    contiguous = step(sequence(memory="plain", drop=0.0), streams())
    assert_same_step((*results[1][:3], {}), (*contiguous[:3], {}))


@FRUGAL
def test_accumulation_over_two_batches(memory):
    results = []
    for mode in ("plain", memory):
        module = sequence(memory=mode)
        step(module, streams(seed=7))
        results.append(step(module, streams(seed=8)))
    assert_same_step(*reversed(results))


def test_modes_share_state_and_can_be_switched():
    module = sequence(memory="plain")
    other = sequence(memory="reversible")
    other.load_state_dict(module.state_dict())
    module.memory = "reversible"
    assert_same_step(step(module, streams()), step(other, streams()))
    with pytest.raises(ValueError, match="memory='frugal'"):
        ReversibleSequence([(make_f(), make_g())], memory="frugal")(*streams(torch.float32))


def test_deepcopy_and_identity():
    module = copy.deepcopy(sequence())
    assert_same_step(step(module, streams()), step(sequence(), streams()))
    x1, x2 = streams()
    assert ReversibleSequence([])(x1, x2) == (x1, x2)
