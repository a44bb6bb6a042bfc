"""Imports point one way, and in no circle."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

SOURCES = Path(__file__).parents[1] / "src" / "madrnet_timm"
LEVELS = {
    "morphology": 0, "models": 0, "data": 1, "losses": 1, "evaluation": 2, "hub": 3, "training": 4, "inference": 4,
    "quickstart": 5, "cli": 5, "commands": 6, "": 7,
}  # fmt: skip
"""A room sees those of lower levels alone; what lies beside them (errors, files, ...) is seen by all and sees none."""


def _modules():
    """Path of each module by its name below the package; the package itself is ""."""
    for path in SOURCES.rglob("*.py"):
        name = ".".join(path.relative_to(SOURCES).with_suffix("").parts)
        yield "" if name == "__init__" else name.removesuffix(".__init__"), path


MODULES = dict(_modules())


def _imports(name, path):
    """Modules of the package that one imports, also within a function, but not for the types alone."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in node.body
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.level or id(node) in for_types:
            continue
        base = [*package[: len(package) + 1 - node.level], *(node.module or "").split(".")]
        for alias in node.names:
            whole = ".".join(filter(None, [*base, alias.name]))
            yield whole if whole in MODULES else ".".join(filter(None, base))


GRAPH = {name: set(_imports(name, path)) - {name} for name, path in MODULES.items()}


def test_every_import_is_known():
    assert len(GRAPH) > 80
    assert "morphology.head" in GRAPH["morphology"]
    assert "data.reading" in GRAPH["inference.classifier"]
    assert [target for targets in GRAPH.values() for target in targets if target not in MODULES] == []


def test_imports_point_one_way():
    def level(module):
        return LEVELS.get(module.partition(".")[0], -1)

    found = [
        f"{name or 'the package'} -> {target}"
        for name, targets in GRAPH.items()
        for target in targets
        if name.partition(".")[0] != target.partition(".")[0] and level(target) >= max(level(name), 0)
    ]
    assert found == []


def test_no_circle():
    TopologicalSorter(GRAPH).prepare()  # raises CycleError, which names the modules
