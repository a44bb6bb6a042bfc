"""Shape and stain joined to a network's embedding: what the command takes, and what it writes."""

import numpy as np
import torch

from examples.studies.frozen import predicted
from madrnet_timm.data.images import ImageDataset
from madrnet_timm.data.normalization import normalized
from madrnet_timm.evaluation.controls import shape_features
from madrnet_timm.hub.model_folder import ModelFolder
from madrnet_timm.training.division import divide
from madrnet_timm.training.run_config import RunConfig
from tests.training.conftest import SMALL, rows, write_heads


def test_the_tables(example, verb, tmp_path):
    heads, run = write_heads(tmp_path / "heads", per_class=20), tmp_path / "cv"
    options = ["--dataset", "folder", "--data-dir", heads, "--output", run, *SMALL, "--epochs", 1]
    trained = verb("cross-validate", *options)
    assert trained.returncode == 0, trained.stderr
    result = example("studies/joined_shape.py", run, "--output", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    division, folder = (
        divide(RunConfig.read(run / "seed0-fold0" / "config.yaml")),
        ModelFolder(run / "seed0-fold0" / "model"),
    )
    records, config = division.records, folder.data_config
    network = folder.load()
    views = normalized(ImageDataset(records, folder.pipeline, 48).views[0], config["mean"], config["std"])
    with torch.no_grad():
        embedding = network.forward_head(network.forward_features(views), pre_logits=True).double().numpy()
    shape = shape_features(records)
    for name, parts in (("embedding", [embedding]), ("joined", [embedding, shape])):
        widths = [part.shape[1] for part in parts]
        said, _ = predicted(np.hstack(parts), widths, records, division.folds, 0)
        table = rows(tmp_path / "out" / f"{name}.csv")
        of_fold = [row for row in table if row["fold"] == "0"]
        assert [row["prediction"] for row in of_fold] == [division.names[label] for label in said]
        assert [row["file"] for row in of_fold] == division.test_records["file"][:]
        assert all(row["file"].startswith(row["label"]) for row in table)
        right = sum(row["label"] == row["prediction"] for row in table)
        assert f"pooled: {right} of 40 right" in result.stdout
    assert right > 30  # of the joined: drawn heads are easily told apart by what is measured
