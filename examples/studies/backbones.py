"""Try every timm architecture as a backbone: build, forward, backward; a table of what works and how.

    python -m examples.studies.backbones --output docs/results/backbones.csv
    python -m examples.studies.backbones --filter 'resnet*' 'vit_*' --output /tmp/some.csv

Every madrnet_* name is built and run on the meta device, which checks all shapes and that the gradient can reach every
parameter, without arithmetic. Models of up to --real million parameters run for real, a batch of two in train mode,
at the smallest size that they take. Rows are written as they come; the same command again does what is missing.
"""

import argparse
import csv
from pathlib import Path
from typing import Any

from madrnet_timm.command import run_command

COLUMNS = ("name", "route", "channels", "map", "parameters", "size", "run", "result")
ROUTES = {
    "Identity": "NCHW",
    "_MapFromNHWC": "NHWC",
    "_MapFromTokens": "tokens",
    "_LastOfList": "list, the last",
    "_AllOfList": "list, all of them",
}


def smallest_size(name: str) -> int:
    """Side of the smallest square image that a model should take."""
    import timm

    cfg = timm.get_pretrained_cfg(name)
    side = max(cfg.input_size[1:])
    if cfg.fixed_input_size:
        return side
    return max(cfg.min_input_size[1:]) if cfg.min_input_size else min(side, 96)


def try_backbone(name: str, real: float) -> dict[str, Any]:
    """One row of the table."""
    import timm
    import torch

    row: dict[str, Any] = {"name": name, "run": "meta"}
    try:
        model = timm.create_model(name, num_classes=4, device="meta").train()
        row |= {
            "route": ROUTES[type(model.to_map).__name__],
            "channels": model.num_features,
            "map": "×".join(map(str, model.pool_size)),
            "parameters": sum(p.numel() for p in model.parameters()),
            "size": model.img_size[0],
        }
        x = torch.empty(2, model.in_chans, *model.img_size, device="meta")
        if row["parameters"] <= 1e6 * real:
            row |= {"run": "CPU", "size": smallest_size(name)}
            model = timm.create_model(name, num_classes=4).train()
            x = torch.randn(2, model.in_chans, row["size"], row["size"])
        logits = model(x)
        logits.sum().backward()
        idle = [n for n, p in model.named_parameters() if p.grad is None]
        if logits.shape != (2, 4) or (not x.is_meta and not bool(logits.isfinite().all())):
            row["result"] = f"logits of shape {tuple(logits.shape)}, not all finite"
        else:
            row["result"] = f"no gradient reaches {len(idle)} parameters: {idle[0]}, ..." if idle else "pass"
    except Exception as error:  # the table is there to say what each family's code raises
        row["result"] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("backbones.csv"), metavar="CSV", help="(%(default)s)")
    parser.add_argument("--filter", nargs="*", default=["*"], metavar="PATTERN", help="timm names, with wildcards")
    parser.add_argument(
        "--real", type=float, default=12, metavar="M", help="largest model to run for real (%(default)s)"
    )
    args = parser.parse_args()

    import timm
    from tqdm import tqdm

    import madrnet_timm  # noqa: F401  registers madrnet_* with timm
    from madrnet_timm.files import write_csv

    rows: list[dict[str, Any]] = []
    if args.output.exists():
        with args.output.open(encoding="utf-8", newline="") as opened:
            rows = list(csv.DictReader(opened))
    done = {row["name"] for row in rows}
    names = [name for name in timm.list_models([f"madrnet_{p}" for p in args.filter]) if name not in done]
    for name in tqdm(names, disable=None):
        row = try_backbone(name, args.real)
        rows.append({column: row.get(column, "") for column in COLUMNS})
        write_csv(args.output, rows)
    failed = [row for row in rows if row["result"] != "pass"]
    print(f"{len(rows) - len(failed)} of {len(rows)} pass")
    for row in failed:
        print(f"{row['name']}: {row['result']}")


if __name__ == "__main__":
    run_command(main)
