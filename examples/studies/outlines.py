"""Measured heads against outlines that others drew, on crops of whole fields."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from madrnet_timm.errors import InputError

if TYPE_CHECKING:
    from madrnet_timm.morphology import HeadMorphology

__all__ = ["CROPS", "HeadTruth", "compare", "crops", "print_comparison"]

CROPS = (2.2, 3.4)
"""Sides of the crops in median head lengths of the field."""

_FOUND = 0.5  # intersection over union from which on the head that was drawn is the one that was measured


@dataclass(frozen=True)
class HeadTruth:
    """A crop around a head that was outlined by hand.

    Attributes:
        image: RGB, ``(height, width, 3)``.
        mask: The drawn head, ``(height, width)`` bool.
        alone: No other drawn head reaches into the crop.
        row: Its line of ``heads.csv``.
    """

    image: Any
    mask: Any
    alone: bool
    row: dict[str, str]


def crops(folder: Path, lengths: float, days: list[str] | None = None) -> Iterator[HeadTruth]:
    """Crops of so many median head lengths around each head that the border leaves whole.

    Raises:
        InputError: ``folder`` holds no ``heads.csv`` with ``images`` and ``masks`` beside it.
    """
    import cv2
    import numpy as np

    table = folder / "heads.csv"
    if not table.is_file():
        raise InputError(f"{table}: no such file; expected the folder of fields with heads.csv, images and masks")
    with table.open(newline="") as opened:
        rows = [row for row in csv.DictReader(opened) if not days or row["image"][:10] in days]
    for name in sorted({row["image"] for row in rows}):
        heads = [row for row in rows if row["image"] == name]
        image = cv2.imread(str(folder / "images" / name), cv2.IMREAD_COLOR)
        labels = cv2.imread(str(folder / "masks" / Path(name).with_suffix(".png").name), cv2.IMREAD_UNCHANGED)
        half = lengths * float(np.median([float(row["length"]) for row in heads])) / 2
        for row in heads:
            if row["touches_border"] == "1":
                continue
            x, y = float(row["center_x"]), float(row["center_y"])
            part = np.s_[max(round(y - half), 0) : round(y + half), max(round(x - half), 0) : round(x + half)]
            label = labels[part]
            mask = label == int(row["head"])
            yield HeadTruth(np.ascontiguousarray(image[part][..., ::-1]), mask, not (label[~mask] > 0).any(), row)


def compare(pairs: list[tuple[HeadTruth, "HeadMorphology"]]) -> dict[str, str]:
    """Figures of a table, by name; lengths, γ and the acrosome of the heads that were found."""
    import numpy as np

    overlap = np.array([(t.mask & m.mask).sum() / (t.mask | m.mask).sum() for t, m in pairs])
    found = [pair for pair, value in zip(pairs, overlap, strict=True) if value >= _FOUND]
    truth = {name: np.array([float(t.row[name]) for t, _ in found]) for name in ("aspect_ratio", "length", "width")}
    error = {name: 100 * (np.array([getattr(m, name) for _, m in found]) / truth[name] - 1) for name in truth}
    capped = [(t.row, m) for t, m in found if t.row["acrosome_fraction"] and t.row["acrosome_angle"]]
    share = np.array(
        [m.acrosome_fraction - float(row["acrosome_fraction"]) for row, m in capped if m.acrosome_fraction is not None]
    )
    turn = np.array([abs(((m.angle or 0) - float(row["acrosome_angle"]) + 180) % 360 - 180) for row, m in capped])
    alone = [m for t, m in pairs if t.alone]
    return {
        "crops": f"{len(pairs)}",
        "overlap (IoU), median and mean": f"{np.median(overlap):.3f}, {overlap.mean():.3f}",
        "another object measured": f"{len(pairs) - len(found)}",
        "γ, error, median, %": f"{np.median(abs(error['aspect_ratio'])):.1f}",
        "γ, error, 95th percentile, %": f"{np.percentile(abs(error['aspect_ratio']), 95):.1f}",
        "length, median, %": f"{np.median(error['length']):+.1f}",
        "width, median, %": f"{np.median(error['width']):+.1f}",
        "acrosome's share, mean error": f"{share.mean():+.3f}",
        "acrosome's share, mean size of the error": f"{abs(share).mean():.3f}",
        "acrosome's end right": f"{(turn < 90).sum()} of {len(turn)}",
        "direction, median, degrees": f"{np.median(turn):.1f}",
        "`two_heads`, no other head in the crop": f"{sum('two_heads' in m.flags for m in alone)} of {len(alone)}",
        "`two_heads`, all": f"{sum('two_heads' in m.flags for _, m in pairs)}",
    }


def print_comparison(folder: Path, days: list[str] | None = None) -> None:
    """The table of `compare`, a column for each of `CROPS`."""
    import cv2
    from tqdm import tqdm

    from madrnet_timm.morphology import measure

    cv2.setNumThreads(1)
    columns = []
    for lengths in CROPS:
        truths = tqdm(list(crops(folder, lengths, days)), leave=False, disable=None)
        columns.append(compare([(truth, measure(truth.image)) for truth in truths]))
    print("| crop, head lengths | " + " | ".join(map(str, CROPS)) + " |\n|---|" + "---|" * len(CROPS))
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(column[name] for column in columns) + " |")
