"""How stable the head measurement is: change of the aspect ratio when the image changes, and time per image.

    python -m examples.studies.measurement --dataset hushem --data-dir HuSHeM
    python -m examples.studies.measurement --fields FIELDS

Every image is measured as it is and turned, mirrored, enlarged, reduced, compressed, darkened and noisy. With --fields,
crops around the heads of whole fields are measured instead and compared with outlines drawn by hand. The tables are in
docs/measurement.md.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from examples.studies.outlines import print_comparison
from madrnet_timm.command import run_command
from madrnet_timm.commands.data_arguments import add_data_arguments, settle_dataset


def changes() -> dict[str, Callable[[Any], Any]]:
    """Name and effect of each change on an RGB image."""
    import cv2
    import numpy as np

    def turned(image: Any, degrees: float) -> Any:
        height, width = image.shape[:2]
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
        size = (width, height)
        return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)

    def compressed(image: Any, quality: int) -> Any:
        _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])

    def noisy(image: Any) -> Any:
        return np.clip(image + np.random.default_rng(0).normal(0, 5, image.shape), 0, 255).astype(np.uint8)

    return {
        "turned by 15°": lambda image: turned(image, 15),
        "turned by 45°": lambda image: turned(image, 45),
        "turned by 90°": lambda image: np.rot90(image).copy(),
        "mirrored": lambda image: image[:, ::-1].copy(),
        "twice as large": lambda image: cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC),
        "half as large": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
        "JPEG 90": lambda image: compressed(image, 90),
        "JPEG 75": lambda image: compressed(image, 75),
        "gain 0.85": lambda image: np.rint(image * 0.85).astype(np.uint8),
        "noise, sd 5": noisy,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_arguments(parser)
    parser.add_argument("--fields", type=Path, metavar="DIR", help="compare with the outlines of hand-outlined fields")
    parser.add_argument("--days", nargs="+", metavar="DATE", help="with --fields: only fields of these days")
    args = parser.parse_args()
    if args.fields:
        print_comparison(args.fields, args.days)
        return
    settle_dataset(args)

    import cv2
    import numpy as np
    from tqdm import tqdm

    from madrnet_timm.data.sources import images_of, load
    from madrnet_timm.morphology import measure

    cv2.setNumThreads(1)
    images = list(images_of(load(args.dataset, args.data_dir, skip_unreadable=args.skip_unreadable)))
    heads, seconds = [], []
    for image in images:
        start = time.process_time()
        heads.append(measure(image))
        seconds.append(time.process_time() - start)
    print("| change of the image | median, % | 95th percentile, % | largest, % |\n|---|---|---|---|")
    for name, change in tqdm(changes().items(), leave=False, disable=None):
        moved = []
        for image, head in zip(images, heads, strict=True):
            other = measure(change(image)).aspect_ratio
            if head.aspect_ratio is not None and other is not None:
                moved.append(100 * abs(other / head.aspect_ratio - 1))
        print(f"| {name} | {np.median(moved):.2f} | {np.percentile(moved, 95):.1f} | {max(moved):.0f} |")
    median, high = 1000 * np.percentile(seconds, (50, 95))
    print(f"\n{median:.1f} ms per image on one core (95th percentile {high:.1f} ms, CPU time)")


if __name__ == "__main__":
    run_command(main)
