"""Write the manifest and the folds of a data set that come with the package.

    python -m tools.publish_folds hushem --data-dir HuSHeM

For whoever adds a data set: look at the groups by eye first (CONTRIBUTING). The manifest names every image with the
hashes of its file and its pixels; the folds, five for each of the seeds 0 to 2, are keyed by the pixels' hash.
"""

import argparse
from pathlib import Path

from madrnet_timm.command import run_command

SEEDS = (0, 1, 2)
FOLDER = Path(__file__).parents[1] / "src" / "madrnet_timm" / "data" / "manifests"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="hushem or smids")
    parser.add_argument("--data-dir", type=Path, required=True, metavar="DIR", help="a copy that you trust")
    parser.add_argument("--output", type=Path, default=FOLDER, metavar="DIR", help="(the package)")
    args = parser.parse_args()

    from madrnet_timm.data.folds import make_folds
    from madrnet_timm.data.sources import drop_conflicts, load
    from madrnet_timm.files import write_csv

    records = load(args.dataset, args.data_dir)
    columns = zip(records["file"], records["sha256"], records["pixel_sha256"], strict=True)
    manifest = [{"name": f.rpartition(".")[0], "sha256": s, "pixel_sha256": p} for f, s, p in columns]
    write_csv(args.output / f"{args.dataset}_manifest.csv", manifest)

    rest, _ = drop_conflicts(records)
    rows = {pixels: {"pixel_sha256": pixels} for pixels in sorted(rest["pixel_sha256"])}
    for seed in SEEDS:
        for pixels, fold in zip(rest["pixel_sha256"], make_folds(rest, 5, seed).tolist(), strict=True):
            rows[pixels][f"fold_seed{seed}"] = str(fold)
    write_csv(args.output / f"{args.dataset}_folds.csv", list(rows.values()))


if __name__ == "__main__":
    run_command(main)
