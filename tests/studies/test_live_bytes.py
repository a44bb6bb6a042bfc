"""The census of live bytes."""

import torch

from examples.studies.live_bytes import LiveBytes


def test_counts_what_is_alive_and_the_peak():
    before = torch.ones(1000)
    with LiveBytes() as live:
        a = before * 2
        view = a[10:]  # no storage of its own
        b = a + 1
        assert live.now == 8000
        del b
        assert live.now == 4000
        c = torch.empty(500)
        del a, view, c
        before.add_(1)
        assert live.now == 0
    assert live.peak == 8000


def test_counts_storages_at_addresses_used_before():
    """Tensors made outside of the dispatcher come and go between the counted ones."""
    kept, generator = [], torch.default_generator
    with LiveBytes() as live:
        for _ in range(20):
            state = generator.get_state()
            state.clone()
            del state
            kept.append(torch.zeros(1000))
        assert live.now == 80_000


def test_counts_what_a_graph_holds():
    x = torch.ones(1000, requires_grad=True)
    with LiveBytes() as live:
        y = (x.exp().sin() ** 2).sum()
        held = live.now
        y.backward()
    assert held >= 2 * 4000  # exp(x) and its sine are needed in the backward pass
    assert live.now < held
