"""Data sets, groups, folds, pipelines and images for training."""
