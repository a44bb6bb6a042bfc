"""Data sets, groups, folds, pipelines and pictures for training."""
