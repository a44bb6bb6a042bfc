"""How well `find_heads` finds the heads of whole fields, against heads outlined by hand.

    python -m examples.studies.fields --data-dir FIELDS --held-back 2022-11-23 2023-04-28 --errors errors.png

FIELDS holds `images/*.jpg` and, in `masks/` under the same name, PNGs with a number for each outlined head. The day is
the beginning of a file's name. Heads at the border are left out: outlined ones that touch it, and found ones with the
flag. A head is found where the outlines overlap with an intersection over union of at least 0.5; heads touch where
less than 4 pixels lie between them. The table is in docs/fields.md.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from madrnet_timm.command import run_command
from madrnet_timm.errors import InputError

OVERLAP = 0.5
GAP = 4  # px between heads that touch
BORDER = 2  # px: outlines that come so near touch the border


@dataclass
class Score:
    """Counts over fields.

    Attributes:
        outlined: Heads outlined by hand, without those at the border.
        found: Of them found.
        touching: Of them those that touch another.
        parted: Of these found, each for itself.
        at_border: Outlined heads at the border.
        found_at_border: Of them found.
        extra: Found where none is outlined.
        overlaps: Intersection over union of each found head.
        errors: Kind and place of each error, ``(kind, file's stem, x, y)``.
    """

    outlined: int = 0
    found: int = 0
    touching: int = 0
    parted: int = 0
    at_border: int = 0
    found_at_border: int = 0
    extra: int = 0
    overlaps: list[float] = field(default_factory=list)
    errors: list[tuple[str, str, float, float]] = field(default_factory=list)

    def row(self, name: str) -> str:
        import numpy as np

        kinds = [kind for kind, *_ in self.errors]
        counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)) or "none"
        recall, precision = self.found / max(self.outlined, 1), self.found / max(self.found + self.extra, 1)
        cells = (
            name,
            self.outlined,
            f"{100 * recall:.1f} %",
            f"{100 * precision:.1f} %",
            f"{self.parted}/{self.touching}",
            f"{self.found_at_border}/{self.at_border}",
            f"{np.mean(self.overlaps or [0]):.3f}",
            counts,
        )
        return f"| {' | '.join(map(str, cells))} |"


def matches(labels: Any, heads: list[Any]) -> dict[int, tuple[int, float]]:
    """For the number of an outlined head the found one that overlaps it, and how well."""
    import numpy as np

    areas = np.bincount(labels.ravel())
    out = {}
    for number, head in enumerate(heads):
        x0, y0, x1, y1 = head.box
        mask = head.mask[y0:y1, x0:x1]
        common = np.bincount(labels[y0:y1, x0:x1][mask], minlength=len(areas))
        overlap = common / (areas + mask.sum() - common)
        for label in np.nonzero(overlap[1:] >= OVERLAP)[0] + 1:
            out[int(label)] = (number, float(overlap[label]))
    return out


def outlined(labels: Any) -> Iterator[tuple[int, bool, bool, tuple[float, float]]]:
    """Number, whether it touches the border, whether another head, and centre of each outlined head."""
    import cv2
    import numpy as np

    for label in np.unique(labels[labels > 0]).tolist():
        mask = (labels == label).astype(np.uint8)
        x, y, width, height = cv2.boundingRect(mask)
        at_border = min(x, y) < BORDER or x + width > mask.shape[1] - BORDER or y + height > mask.shape[0] - BORDER
        near = cv2.dilate(mask, np.ones((2 * GAP + 1, 2 * GAP + 1), np.uint8)) > 0
        touches = bool(np.setdiff1d(labels[near], [0, label]).size)
        yield label, at_border, touches, (x + width / 2, y + height / 2)


def count(score: Score, stem: str, labels: Any, heads: list[Any]) -> None:
    """Add a field to the score."""
    pairs = matches(labels, heads)
    for label, at_border, touches, center in outlined(labels):
        if at_border:
            score.at_border += 1
            score.found_at_border += label in pairs
            continue
        score.outlined += 1
        score.found += label in pairs
        score.touching += touches
        score.parted += touches and label in pairs
        if label in pairs:
            score.overlaps.append(pairs[label][1])
        else:
            under = [head for head in heads if head.mask[round(center[1]), round(center[0])]]
            kind = "not parted" if touches and under else "another outline" if under else "missed"
            score.errors.append((kind, stem, *center))
    taken = {number for number, _ in pairs.values()}
    for number, head in enumerate(heads):
        if number not in taken and not head.touches_border:
            x, y = (round(place) for place in head.center)
            score.extra += 1
            score.errors.append(("part of a head" if labels[y, x] else "no head", stem, *head.center))


def tile(image: Any, labels: Any, heads: list[Any], error: tuple[str, str, float, float], side: int = 220) -> Any:
    """The surroundings of an error: outlined by hand in green, found in red."""
    import cv2
    import numpy as np

    kind, stem, x, y = error
    drawn = image.copy()
    for label in np.unique(labels[labels > 0]).tolist():
        contours, _ = cv2.findContours((labels == label).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, contours, -1, (0, 200, 0), 2)
    for head in heads:
        cv2.polylines(drawn, [np.rint(head.contour).astype(int)], True, (230, 0, 0), 2)
    half = side // 2
    padded = cv2.copyMakeBorder(drawn, half, half, half, half, cv2.BORDER_CONSTANT, value=(90, 90, 90))
    out = padded[round(y) : round(y) + side, round(x) : round(x) + side].copy()
    for line, text in enumerate((stem, kind)):
        cv2.putText(out, text, (3, 13 + 15 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return out


def sheet(tiles: list[Any], columns: int = 6) -> Any:
    import numpy as np

    tiles = tiles + [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[first : first + columns]) for first in range(0, len(tiles), columns)])


def crops(image: Any, labels: Any) -> list[Any]:
    """A square of 2.7 lengths around each outlined head that lies far enough from the border."""
    import numpy as np

    out = []
    for label in np.unique(labels[labels > 0]).tolist():
        ys, xs = np.nonzero(labels == label)
        half = round(1.35 * max(np.ptp(xs), np.ptp(ys)))
        x, y = round(xs.mean()), round(ys.mean())
        if min(x, y) >= half and x + half < image.shape[1] and y + half < image.shape[0]:
            out.append(np.ascontiguousarray(image[y - half : y + half, x - half : x + half]))
    return out


def time_ratio(fields: list[Any], heads: list[Any], rounds: int = 3) -> tuple[float, float]:
    """CPU seconds of a field and of 8 crops, each the least of some rounds taken in turns."""
    from madrnet_timm.morphology import measure, search_field

    def seconds(run: Any, images: list[Any]) -> float:
        start = time.process_time()
        for image in images:
            run(image)
        return (time.process_time() - start) / len(images)

    both = [(seconds(search_field, fields), 8 * seconds(measure, heads)) for _ in range(rounds)]
    return min(field for field, _ in both), min(crop for _, crop in both)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, metavar="DIR", help="folder with images/ and masks/")
    parser.add_argument(
        "--held-back", nargs="*", default=[], metavar="DAY", help="days that nothing was chosen on: a row of their own"
    )
    parser.add_argument("--errors", type=Path, metavar="PNG", help="write a contact sheet of all errors")
    args = parser.parse_args()
    files = sorted((args.data_dir / "images").glob("*.jpg"))
    if not files:
        raise InputError(f"{args.data_dir}: expected images/*.jpg and masks/*.png in it")

    import cv2
    from tqdm import tqdm

    from madrnet_timm.morphology import search_field

    cv2.setNumThreads(1)
    scores: dict[str, Score] = {}
    tiles, timed, heads = [], [], []
    for number, path in enumerate(tqdm(files, leave=False, disable=None)):
        image = cv2.imread(str(path))[..., ::-1].copy()
        labels = cv2.imread(str(args.data_dir / "masks" / f"{path.stem}.png"), cv2.IMREAD_UNCHANGED)
        found = search_field(image)
        score = scores.setdefault("held back" if path.name.startswith(tuple(args.held_back)) else "others", Score())
        before = len(score.errors)
        count(score, path.stem, labels, found.heads)
        tiles += [tile(image, labels, found.heads, error) for error in score.errors[before:]]
        if number % 6 == 0:
            timed.append(image)
            heads += crops(image, labels)
    print("| days | heads | recall | precision | parted | at the border | overlap | errors |")
    print("|---|---|---|---|---|---|---|---|")
    for name, score in sorted(scores.items(), reverse=True):
        print(score.row(name))
    field, crop = time_ratio(timed, heads)
    print(f"\n{1000 * field:.0f} ms a field, {1000 * crop:.0f} ms for 8 crops on one core: ratio {field / crop:.2f}")
    if args.errors and tiles:
        cv2.imwrite(str(args.errors), sheet(tiles)[..., ::-1])


if __name__ == "__main__":
    run_command(main)
