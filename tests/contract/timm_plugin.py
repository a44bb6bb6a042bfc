"""pytest plugin under which timm's own ``tests/test_models.py`` runs over the names in ``$MADRNET_TIMM_NAMES``.

    MADRNET_TIMM_NAMES="madrnet_resnet50 madrnet_test_vit" \\
        PYTHONPATH=tests/contract python -m pytest -p timm_plugin TIMM/tests/test_models.py

It registers our names before that file asks timm for all names, adds our family to the list that the file keeps of
those with `forward_intermediates`, and leaves out the tests of other models.
"""

import os
from typing import Any

import pytest
import timm

import madrnet_timm  # noqa: F401  registers madrnet_* with timm

_list_models = timm.list_models


def _list_models_with_ours(*args: Any, module: Any = "", **kwargs: Any) -> list[str]:
    return _list_models(*args, module=[*module, "madrnet"] if isinstance(module, list) else module, **kwargs)


timm.list_models = _list_models_with_ours


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "timeout: timm's limit of a test's time, for pytest-timeout")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    names = set(os.environ["MADRNET_TIMM_NAMES"].split())
    ours, others = [], []
    for item in items:
        name = getattr(item, "callspec", None) and item.callspec.params.get("model_name", "")  # type: ignore[attr-defined]
        (ours if name and name.split(".")[0] in names else others).append(item)
    config.hook.pytest_deselected(items=others)
    items[:] = ours
