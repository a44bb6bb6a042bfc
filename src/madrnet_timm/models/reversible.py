"""Additive couplings of two streams that need not keep their activations, eqs. 5 and 6; usable on its own.

`ReversibleSequence` wraps couplings that are modules; `run_couplings` takes any callables and what they use, shared
between executions or not. In the reversible mode one `autograd.Function` spans the whole sequence: it saves the two
output streams and the parameters, and the backward pass rebuilds the inputs of one half step after the other by eq. 6
and takes its gradients by local autograd, so that never more than one half step's graph is alive.

Under FSDP2 the module that holds all couplings is one unit, not its parts.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from .._compat import AnyBatchNorm, buffers_of, is_replica, uncached_parametrizations, version_of

__all__ = ["MEMORY_MODES", "ReversibleSequence", "invert_couplings", "run_couplings"]

MEMORY_MODES = ("plain", "checkpoint", "reversible")

Half = Callable[[torch.Tensor], torch.Tensor]
Couplings = Sequence[tuple[Half, Half]]
Streams = tuple[torch.Tensor, torch.Tensor]

_GRID = 2.0**13  # exact couplings: float32 sums of multiples of 1/_GRID are exact below 2^24 / _GRID
_GRID_LIMIT = 2.0**24 / _GRID


def _on_grid(x: torch.Tensor) -> torch.Tensor:
    """``x`` rounded to multiples of 2^-13, with the gradient of the identity."""
    return (x.detach() * _GRID).round() / _GRID + (x - x.detach())


def _autocasts(x: torch.Tensor) -> bool:
    kind = x.device.type
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def _execute(f: Half, g: Half, x1: torch.Tensor, x2: torch.Tensor, exact: bool) -> Streams:
    """One execution, eq. 5."""
    x1 = x1 + (_on_grid(f(x2)) if exact else f(x2))
    x2 = x2 + (_on_grid(g(x1)) if exact else g(x1))
    return x1, x2


class _SecondRun(AbstractContextManager[None]):
    """Around the forward pass that the backward pass repeats; may be entered again and again.

    The parameters must be those of the first run. Training batch norms update copies of their running statistics:
    switching `track_running_stats` off would do for the reversible mode, but `checkpoint` counts what is saved.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module, self.modules = module, list(module.modules())
        self.params = list(module.parameters())
        self.own: list[list[tuple[nn.Module, dict[str, Any]]]] = []

    def __enter__(self) -> None:
        now = list(self.module.parameters())
        if len(now) != len(self.params) or any(one is not other for one, other in zip(now, self.params, strict=True)):
            raise RuntimeError(
                "parameters were exchanged between forward and backward of a reversible sequence, as by "
                "torch.func.functional_call; use memory='plain'"
            )
        norms = [m for m in self.modules if isinstance(m, AnyBatchNorm) and m.training and m.track_running_stats]
        self.own.append([(norm, dict(buffers_of(norm))) for norm in norms])
        for norm in norms:
            buffers = buffers_of(norm)
            buffers.update({k: None if v is None else v.clone() for k, v in buffers.items()})

    def __exit__(self, *error: object) -> None:
        for norm, buffers in self.own.pop():
            buffers_of(norm).update(buffers)


class _RandomStates:
    """The random states before the half steps, in one buffer: many small tensors would fragment the heap."""

    def __init__(self, steps: int, device: torch.device) -> None:
        self.generators = [torch.default_generator]
        if device.type == "cuda":
            self.generators.append(torch.cuda.default_generators[device.index or 0])
        self.sizes = [len(generator.get_state()) for generator in self.generators]
        self.buffer: torch.Tensor | None = torch.empty(steps, sum(self.sizes), dtype=torch.uint8)
        self.drew = [False] * steps

    def _now(self) -> torch.Tensor:
        return torch.cat([generator.get_state() for generator in self.generators])

    def _set(self, state: torch.Tensor) -> None:
        for generator, part in zip(self.generators, state.split(self.sizes), strict=True):
            generator.set_state(part.clone())

    @contextmanager
    def recorded(self, step: int) -> Iterator[None]:
        """Note the state before a half step, and whether the half step drew."""
        assert self.buffer is not None
        self.buffer[step].copy_(self._now())
        yield
        self.drew[step] = not torch.equal(self.buffer[step], self._now())

    def finish(self) -> None:
        """Give the buffer back if nothing was drawn."""
        if not any(self.drew):
            self.buffer = None

    @contextmanager
    def replayed(self, step: int) -> Iterator[None]:
        """Draw again what the half step drew; the caller's generators are left as they were."""
        if not self.drew[step]:
            yield
            return
        assert self.buffer is not None
        before = self._now()
        self._set(self.buffer[step])
        try:
            yield
        finally:
            self._set(before)


class _BufferWatch:
    """Refuses modules that change their own buffers in `forward`: a second run would not repeat the first.

    Training batch norm is no such module, since its output does not depend on its running statistics.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.owners = [
            (module, name)
            for module in modules
            if module.training and not isinstance(module, AnyBatchNorm)
            for name, buffer in buffers_of(module).items()
            if buffer is not None
        ]
        self.before = self._versions()

    def _versions(self) -> list[tuple[int, int]]:
        buffers = [buffers_of(module)[name] for module, name in self.owners]
        return [(id(buffer), version_of(buffer)) for buffer in buffers]  # type: ignore[arg-type]

    def check(self) -> None:
        for (module, name), before, now in zip(self.owners, self.before, self._versions(), strict=True):
            if before != now:
                raise RuntimeError(
                    f"{type(module).__name__} changes its buffer {name!r} while it runs, so the reversible backward "
                    "pass can't repeat it; use memory='plain' or another module"
                )


class _Sequence:
    """One call of a reversible sequence: what its backward pass needs besides tensors."""

    def __init__(self, couplings: Couplings, module: nn.Module, exact: bool, x: torch.Tensor) -> None:
        self.couplings = couplings
        self.again = _SecondRun(module)
        modules = self.modules = self.again.modules
        self.exact = exact
        self.modes = [module.training for module in modules]
        self.states = _RandomStates(2 * len(couplings), x.device)
        kind = x.device.type
        # no cache, of casts or of parametrizations: what was made without a graph would be taken for one with a graph
        self.autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
        if _autocasts(x):
            dtype = torch.get_autocast_dtype(kind)
            self.autocast = partial(torch.autocast, kind, dtype=dtype, cache_enabled=False)
        elif torch.amp.is_autocast_available(kind):
            self.autocast = partial(torch.autocast, kind, enabled=False)

    def _half(self, half: Half, source: torch.Tensor) -> torch.Tensor:
        with self.autocast(), uncached_parametrizations():
            out = half(source)
        return _on_grid(out) if self.exact else out

    def forward(self, x1: torch.Tensor, x2: torch.Tensor) -> Streams:
        watch = _BufferWatch(self.modules)
        for i, (f, g) in enumerate(self.couplings):
            with self.states.recorded(2 * i):
                x1 = x1 + self._half(f, x2)
            with self.states.recorded(2 * i + 1):
                x2 = x2 + self._half(g, x1)
        watch.check()
        self.states.finish()
        if self.exact and max(float(x1.abs().max()), float(x2.abs().max())) >= _GRID_LIMIT:
            raise RuntimeError(f"exact couplings need streams below {_GRID_LIMIT:.0f}; use exact=False")
        return x1, x2

    def _undo(
        self,
        step: int,
        half: Half,
        source: torch.Tensor,
        target: torch.Tensor,
        d_target: torch.Tensor,
        params: Sequence[torch.Tensor],
    ) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
        """Undo ``target += half(source)``; returns the target before, and gradients of source and parameters."""
        with torch.enable_grad(), self.states.replayed(step), self.again:
            leaf = source.detach().requires_grad_()
            out = self._half(half, leaf)
        before = target - out.detach()
        d_out = d_target.sum_to_size(out.shape).to(out.dtype)  # of an output that was broadcast
        grads = torch.autograd.grad(out, [leaf, *params], d_out, allow_unused=True)
        return before, list(grads)

    def backward(
        self, y1: torch.Tensor, y2: torch.Tensor, d1: torch.Tensor, d2: torch.Tensor, params: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor | None]]:
        if [module.training for module in self.modules] != self.modes:
            raise RuntimeError("train/eval mode changed between forward and backward of a reversible sequence")
        totals: list[torch.Tensor | None] = [None] * len(params)

        def add(grads: list[torch.Tensor | None], more: bool) -> None:
            """Add up in place, in a copy: autograd may hand out one tensor twice, or the caller's own."""
            for k, grad in enumerate(grads):
                total = totals[k]
                if grad is not None:
                    totals[k] = total.add_(grad) if total is not None else grad.clone() if more else grad

        for i, (f, g) in reversed(list(enumerate(self.couplings))):
            y2, (d_source, *grads) = self._undo(2 * i + 1, g, y1, y2, d2, params)
            d1 = d1 if d_source is None else d1 + d_source
            add(grads, more=True)
            y1, (d_source, *grads) = self._undo(2 * i, f, y2, y1, d1, params)
            d2 = d2 if d_source is None else d2 + d_source
            add(grads, more=i > 0)
        return d1, d2, totals


class _Reversible(torch.autograd.Function):
    """The whole sequence as one node of the graph; parameters are inputs, so that it works under every wrapper."""

    @staticmethod
    def forward(ctx: Any, sequence: _Sequence, x1: torch.Tensor, x2: torch.Tensor, *params: torch.Tensor) -> Streams:
        ctx.sequence = sequence
        y1, y2 = sequence.forward(x1, x2)
        ctx.save_for_backward(y1, y2, *params)
        return y1, y2

    @staticmethod
    def backward(ctx: Any, d1: torch.Tensor, d2: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        if torch.is_grad_enabled():  # once_differentiable would return zeros silently for autograd.grad(params)
            raise RuntimeError("create_graph=True needs the activations: use memory='plain' for second derivatives")
        y1, y2, *params = ctx.saved_tensors  # raises if a parameter was changed in place since the forward pass
        d1, d2, grads = ctx.sequence.backward(y1, y2, d1, d2, params)
        return None, d1, d2, *grads


@torch.compiler.disable
def _apply(couplings: Couplings, module: nn.Module, x1: torch.Tensor, x2: torch.Tensor, exact: bool) -> Streams:
    params = [p for p in module.parameters() if p.requires_grad]
    return _Reversible.apply(_Sequence(couplings, module, exact, x1), x1, x2, *params)


@torch.compiler.disable  # a compiled graph takes no contexts but those of its own kind
def _checkpointed(couplings: Couplings, module: nn.Module, x1: torch.Tensor, x2: torch.Tensor, exact: bool) -> Streams:
    again = _SecondRun(module)
    watch = _BufferWatch(again.modules)
    execute = uncached_parametrizations()(_execute)  # the cache of the first run would be empty in the second, or full
    for f, g in couplings:
        x1, x2 = checkpoint(
            execute, f, g, x1, x2, exact, use_reentrant=False,
            context_fn=lambda: (nullcontext(), again),
        )  # fmt: skip
    watch.check()
    return x1, x2


def run_couplings(
    couplings: Couplings,
    module: nn.Module,
    x1: torch.Tensor,
    x2: torch.Tensor,
    memory: str = "reversible",
    keep_last: bool = True,
    exact: bool = False,
) -> Streams:
    """Run ``x1 += F_i(x2); x2 += G_i(x1)`` for each coupling ``(F_i, G_i)``, eq. 5.

    Outputs, gradients and randomness are the same in every memory mode.

    Args:
        couplings: Pairs of callables.
        module: Holds every module that the callables use.
        x1: First stream.
        x2: Second stream.
        memory: ``"plain"`` keeps all activations, ``"checkpoint"`` the streams of each execution, ``"reversible"`` the
            output streams alone.
        keep_last: Run the last execution under plain autograd: 1/n of the recomputation is saved, and the peak grows
            only by one half step's graph, since that of the other is alive in the backward pass anyway.
        exact: Round the inputs and the couplings to multiples of 2^-13, so that the inverse restores every bit of the
            rounded inputs; for autocast and many executions.

    Returns:
        The output streams, at least float32 under autocast.

    Raises:
        ValueError: Unknown memory mode.
        RuntimeError: ``exact`` with streams of 16 bits. In the checkpoint and reversible modes: a module that changes
            its own buffers; and in the backward pass parameters that were exchanged since the forward pass, as by
            `torch.func.functional_call`. In the reversible mode: a device other than CPU and CUDA; and in the backward
            pass a change of train/eval mode or of a parameter since the forward pass, or ``create_graph=True``.
    """
    if memory not in MEMORY_MODES:
        raise ValueError(f"memory={memory!r}: expected one of {', '.join(MEMORY_MODES)}")
    tracing = torch.jit.is_tracing() or torch.compiler.is_exporting() or isinstance(x1, torch.fx.Proxy)
    if tracing or not torch.is_grad_enabled() or is_replica(module):
        memory = "plain"
    elif memory == "reversible" and x1.device.type not in ("cpu", "cuda", "meta"):
        raise RuntimeError(f"memory='reversible' can't replay dropout on {x1.device.type}; use memory='checkpoint'")
    if not tracing and _autocasts(x1):
        x1, x2 = (x.float() if x.dtype in (torch.bfloat16, torch.float16) else x for x in (x1, x2))
    if exact and not tracing and (short := {x1.dtype, x2.dtype} & {torch.bfloat16, torch.float16}):
        raise RuntimeError(f"exact couplings need streams in float32, not {short.pop()}: use autocast, or exact=False")
    if exact:
        x1, x2 = _on_grid(x1), _on_grid(x2)
    if memory == "checkpoint":
        return _checkpointed(couplings, module, x1, x2, exact)
    kept = list(couplings)
    if memory == "reversible":
        kept = kept[-1:] if keep_last else []
        spanned = couplings[: len(couplings) - len(kept)]
        if spanned:
            x1, x2 = _apply(spanned, module, x1, x2, exact)
    for f, g in kept:
        x1, x2 = _execute(f, g, x1, x2, exact)
    return x1, x2


@torch.no_grad()
def invert_couplings(
    couplings: Couplings, module: nn.Module, y1: torch.Tensor, y2: torch.Tensor, exact: bool = False
) -> Streams:
    """The streams that `run_couplings` maps to ``(y1, y2)``, eq. 6: to rounding, or with ``exact`` to the last bit.

    Raises:
        RuntimeError: In train mode, where dropout and batch statistics make F and G differ from call to call.
    """
    if module.training:
        raise RuntimeError("inverse() needs eval mode (call .eval() first): F and G vary from call to call here")
    for f, g in reversed(couplings):
        y2 = y2 - (_on_grid(g(y1)) if exact else g(y1))
        y1 = y1 - (_on_grid(f(y2)) if exact else f(y2))
    return y1, y2


class ReversibleSequence(nn.Module):
    """Executions of additive couplings, each a pair of modules ``(F_i, G_i)``.

    ``x1 += F_i(x2); x2 += G_i(x1)`` for each in turn (eq. 5). F and G may change the number of channels, so the two
    streams need not be equally wide, and executions may share modules.

    Args:
        couplings: The ``(F_i, G_i)`` of each execution; none is the identity.
        memory: ``"plain"``, ``"checkpoint"`` or ``"reversible"``; an attribute that may be changed at any time.
        keep_last: See `run_couplings`.
        exact: See `run_couplings`.
    """

    def __init__(
        self,
        couplings: Sequence[tuple[nn.Module, nn.Module]],
        memory: str = "reversible",
        keep_last: bool = True,
        exact: bool = False,
    ) -> None:
        super().__init__()
        self.f = nn.ModuleList(f for f, _ in couplings)
        self.g = nn.ModuleList(g for _, g in couplings)
        self.memory = memory
        self.keep_last = keep_last
        self.exact = exact

    def _couplings(self) -> list[tuple[Half, Half]]:
        return list(zip(self.f, self.g, strict=True))

    def forward(self, x1: torch.Tensor, x2: torch.Tensor) -> Streams:
        return run_couplings(self._couplings(), self, x1, x2, self.memory, self.keep_last, self.exact)

    def inverse(self, y1: torch.Tensor, y2: torch.Tensor) -> Streams:
        """The inputs that `forward` maps to ``(y1, y2)``, see `invert_couplings`."""
        return invert_couplings(self._couplings(), self, y1, y2, self.exact)
