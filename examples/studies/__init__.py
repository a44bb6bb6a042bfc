"""What the pages in docs/ report, one study per module: ``python -m examples.studies.ablation --help``."""
