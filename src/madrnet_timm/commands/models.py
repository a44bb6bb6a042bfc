"""``madrnet models``: what can be had by name."""

import argparse
from typing import TYPE_CHECKING, Any

from madrnet_command import VERBS

if TYPE_CHECKING:
    from ..models.pretrained import Published

__all__ = ["add_parser"]


def add_parser(verbs: Any) -> None:
    """Add the verb and its options."""
    models = verbs.add_parser(
        "models",
        help=VERBS["models"],
        description="List the published models: data that they were trained and measured on, share of held-out images "
        "that are right with its 95 % interval, size of the weights, and where they are found. A name is looked for in "
        "$MADRNET_HUB_DIR, in hub/ of a checkout, in the Hub's cache, and then on the Hub, from which it is fetched "
        "when it is first used. Nothing is asked of a network here.",
        epilog="A name marked with * is what its architecture's name stands for without the tag. Use a name as --model "
        "of predict, explain, export and so on, as --weights of a training, or in timm.create_model(NAME, "
        "pretrained=True). Example: madrnet predict crops/ --model madrnet_tf_efficientnet_lite0",
    )
    models.set_defaults(verb=_models)


def _models(args: argparse.Namespace) -> int:
    from ..models.pretrained import full_name, published_models

    rows = [("name", "data", "right on held-out images", "weights", "where")]
    for name, entry in published_models().items():
        mark = "*" if full_name(entry.architecture) == name else ""
        size = f"{entry.size / 1e6:.1f} MB" if entry.size else ""
        rows.append((name + mark, _title(entry), _accuracy(entry), size, _where(entry)))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)))
    print("\n* what the architecture's name stands for without the tag")
    return 0


def _title(entry: "Published") -> str:
    from ..data.sources import SOURCES

    name = entry.dataset or ""
    return SOURCES[name].title if name in SOURCES else name


def _accuracy(entry: "Published") -> str:
    from ..evaluation.intervals import wilson_interval

    if entry.images is None or entry.right is None:
        return ""
    low, high = wilson_interval(entry.right, entry.images)
    return f"{100 * entry.right / entry.images:.1f} % [{100 * low:.1f}, {100 * high:.1f}] of {entry.images}"


def _where(entry: "Published") -> str:
    from ..hub.lookup import published_folder

    found = published_folder(entry.name)
    if found is None:
        return f"not here; fetched when used, if published: {entry.repository}@{entry.revision}"
    place, folder = found
    return f"{place}: {folder}"
