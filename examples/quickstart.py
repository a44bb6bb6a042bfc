"""The whole way in a minute or two, without any data: ask, draw heads, train, save, load, classify.

    python examples/quickstart.py --output runs/quickstart

The same as `madrnet quickstart`; its steps stand in `madrnet_timm.quickstart`.
"""

from madrnet_timm.cli import run_verb


def main() -> None:
    run_verb("quickstart")


if __name__ == "__main__":
    main()
