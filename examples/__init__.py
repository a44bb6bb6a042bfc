"""Small programs around the package, each run from the checkout: ``python examples/train.py --help``."""
