"""Train MADRNet, or any timm model, on all folds but one, and measure it on the images of that one.

    python examples/train.py --model madrnet_test_resnet --epochs 20                # drawn heads, a minute
    accelerate launch examples/train.py --dataset hushem --data-dir DIR --fold 0    # HuSHeM

The same as `madrnet train`, whose --help explains every option.
"""

from madrnet_timm.cli import run_verb


def main() -> None:
    run_verb("train")


if __name__ == "__main__":
    main()
