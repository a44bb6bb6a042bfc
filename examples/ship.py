"""Train a cross-validated recipe on all pictures and write the model that is published, to hub/<name>.

    python examples/ship.py runs/hushem --name madrnet_tf_efficientnet_lite0.hushem

The card quotes the cross-validation, not the final model, which has seen every picture. Weights are stored in half
precision; models.yaml of the package gets their checksum. `madrnet publish hub/<name> --repo ...` puts it on the Hub.
"""

import argparse
from pathlib import Path

from madrnet_timm.training.command import run_command

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="output of examples/cross_validate.py, finished")
    parser.add_argument("--name", required=True, metavar="madrnet_<architecture>.<tag>")
    parser.add_argument("--hub", type=Path, default=ROOT / "hub", metavar="DIR", help="(hub/ of the repository)")
    models = ROOT / "src" / "madrnet_timm" / "models" / "models.yaml"
    parser.add_argument("--models", type=Path, default=models, metavar="YAML", help="(models.yaml of the package)")
    args = parser.parse_args()

    from madrnet_timm.training.shipping import ship

    print(ship(args.output, args.name, args.hub, args.models))


if __name__ == "__main__":
    run_command(main)
