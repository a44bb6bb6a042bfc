"""What the pages in docs/ report, one study a module: ``python -m examples.studies.ablation --help``."""
