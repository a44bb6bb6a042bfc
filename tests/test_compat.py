"""Every piece of private API of other libraries that the package uses does what it is used for; no other is used."""

import ast
import gc
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from madrnet_timm import _compat

ROOT = Path(__file__).parents[1]
LIBRARIES = ("accelerate", "datasets", "evaluate", "huggingface_hub", "timm", "torch", "torchvision")
OF_PYTHON = {"argparse._ActionsContainer", "os._exit", "pool._processes"}


def test_feature_take_indices():
    assert _compat.feature_take_indices(5, None) == ([0, 1, 2, 3, 4], 4)
    assert _compat.feature_take_indices(5, 2) == ([3, 4], 4)
    assert _compat.feature_take_indices(5, [-4, 2]) == ([1, 2], 2)
    with pytest.raises(AssertionError):
        _compat.feature_take_indices(5, [5])


def test_is_functorch_wrapped_tensor():
    seen = []

    def look(x):
        seen.append(_compat.is_functorch_wrapped_tensor(x))
        return x

    torch.vmap(look)(look(torch.zeros(2)))
    assert seen == [False, True]


def test_uncached_parametrizations():
    made = []

    class Counted(nn.Module):
        def forward(self, x):
            made.append(x)
            return x + 0

    layer = nn.Linear(2, 2)
    parametrize.register_parametrization(layer, "weight", Counted())
    with parametrize.cached():
        kept = layer.weight
        assert layer.weight is kept
        made.clear()
        with _compat.uncached_parametrizations():
            assert layer.weight is not layer.weight
        assert len(made) == 2
        assert layer.weight is kept


def test_any_batch_norm():
    norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    assert all(issubclass(norm, _compat.AnyBatchNorm) for norm in norms)
    assert not issubclass(nn.InstanceNorm2d, _compat.AnyBatchNorm)


def test_buffers_of():
    norm = nn.BatchNorm2d(3)
    assert list(_compat.buffers_of(norm)) == ["running_mean", "running_var", "num_batches_tracked"]
    _compat.buffers_of(norm).update(running_mean=torch.ones(3))
    assert torch.equal(norm.running_mean, torch.ones(3))
    assert _compat.buffers_of(nn.BatchNorm2d(3, track_running_stats=False))["running_mean"] is None


def test_is_replica():
    module = nn.Linear(2, 2)
    assert not _compat.is_replica(module)
    assert _compat.is_replica(module._replicate_for_data_parallel())


def test_version_of():
    x = torch.zeros(2)
    before = _compat.version_of(x)
    x.add_(1)
    assert _compat.version_of(x) > before


def test_storages_are_told_from_one_another():
    x = torch.zeros(4)
    assert _compat.storage_key(x.untyped_storage()) == _compat.storage_key(x[1:].untyped_storage())
    assert _compat.storage_key(x.untyped_storage()) != _compat.storage_key(x.clone().untyped_storage())
    reference = _compat.StorageWeakRef(x.untyped_storage())
    assert not reference.expired()
    del x
    gc.collect()
    assert reference.expired()


def test_torch_dispatch_mode_and_tree_iter():
    found = []

    class Watch(_compat.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            found.extend(one for one in _compat.tree_iter((args, kwargs)) if isinstance(one, torch.Tensor))
            return func(*args, **(kwargs or {}))

    x, y = torch.zeros(2), torch.ones(2)
    with Watch():
        torch.cat([x, y])
    assert [one is other for one, other in zip(found, (x, y), strict=True)] == [True, True]


def test_all_of_it_is_tested():
    here = ast.walk(ast.parse(Path(__file__).read_text(encoding="utf-8")))
    used = {node.attr for node in here if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "_compat"}
    assert used - {"__all__"} == set(_compat.__all__)


def _is_private(name):
    return name.startswith("_") and not name.startswith("__")


def _own_names(tree):
    """Names with an underscore that a module gives to its functions, classes and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _foreign_names(tree, own):
    """Private names of other libraries that a module imports, or takes from an object, each as it stands there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] in LIBRARIES:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name for name in names if any(map(_is_private, name.split("."))))
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.split(".")[0] in LIBRARIES]
            yield from (name for name in names if any(map(_is_private, name.split("."))))
        elif isinstance(node, ast.Attribute) and _is_private(node.attr) and node.attr not in own:
            yield ast.unparse(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr"):
            name = getattr(node.args[1], "value", "")
            if _is_private(str(name)) and name not in own:
                yield name


def test_no_other_module_uses_private_api():
    folders = ("src", "examples", "tools", "hub")
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")) if path.name != "_compat.py"]
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    own = {name for tree in trees.values() for name in _own_names(tree) if _is_private(name)} | {"_compat"}
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for path, tree in trees.items()
        for name in sorted(set(_foreign_names(tree, own)) - OF_PYTHON)
    ]
    assert len(paths) > 100
    assert found == []


def test_private_api_is_recognised():
    code = (
        "import torch._dynamo\nfrom timm.models._x import y\ntorch._C.f(x)\nhasattr(m, '_flag')\nself._mine\nm.__dict__"
    )
    found = list(_foreign_names(ast.parse(code), own={"_mine"}))
    assert sorted(found) == ["_flag", "timm.models._x.y", "torch._C", "torch._dynamo"]
