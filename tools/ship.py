"""Train a cross-validated recipe on all pictures and write the model that is published, to hub/<name>.

    python -m tools.ship runs/hushem --name madrnet_tf_efficientnet_lite0.hushem

The card quotes the cross-validation, not the final model, which has seen every picture. Weights are stored in half
precision. With --models src/madrnet_timm/models/models.yaml the package knows the name and its checksums.
`madrnet publish hub/<name> --repo ...` puts it on the Hub.
"""

import argparse
from pathlib import Path

from madrnet_timm.command import run_command

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="output of madrnet cross-validate, finished")
    parser.add_argument("--name", required=True, metavar="madrnet_<architecture>.<tag>")
    parser.add_argument("--hub", type=Path, default=ROOT / "hub", metavar="DIR", help="(hub/ of the repository)")
    parser.add_argument(
        "--models", type=Path, metavar="YAML", help="models.yaml of the package, to make the name known"
    )
    parser.add_argument(
        "--note", default="", metavar="TEXT", help="for the card: what else has to be known to judge the figures"
    )
    args = parser.parse_args()

    from madrnet_timm.training.shipping import ship

    print(ship(args.output, args.name, args.hub, args.models, args.note))


if __name__ == "__main__":
    run_command(main)
