"""What a model has seen: in its run folder image by image, elsewhere by the names of its data sets."""

import json
from dataclasses import replace

import pytest
import torch
import yaml
from datasets import Dataset
from safetensors.torch import save_file

from madrnet_timm.data.manifest import read_manifest
from madrnet_timm.errors import InputError
from madrnet_timm.files import write_csv
from madrnet_timm.hub.lookup import find_model
from madrnet_timm.training.division import check_unseen
from madrnet_timm.training.leakage import experience_before, seen_by, seen_pixels
from madrnet_timm.training.run_config import RunConfig
from madrnet_timm.training.teachers import check_teachers

IMAGES = ["a", "b", "c", "d"]


def records(images, cells=None):
    """Of images that are held out; each shows a cell of its own, unless it is said."""
    return Dataset.from_dict({"pixel_sha256": images, "group": list(cells or range(len(images)))})


def model(folder, dataset, *before):
    """A model folder, as far as it says what it learned from."""
    folder.mkdir(parents=True)
    cfg = {"num_classes": 2, "input_size": [3, 48, 48]}
    info = {"dataset": dataset, "learned_before": list(before), "pipeline": "raw"}
    config = {"architecture": "madrnet_test_resnet", "label_names": ["x", "y"], "pretrained_cfg": cfg, "madrnet": info}
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"weight": torch.zeros(1)}, folder / "model.safetensors")
    return folder


def run(folder, dataset, images, *before, **options):
    """A run that held out the first image."""
    model(folder / "model", dataset, *before)
    write_csv(folder / "folds.csv", [{"pixel_sha256": name, "fold": int(n > 0)} for n, name in enumerate(images)])
    config = {"model": "madrnet_test_resnet", "dataset": dataset, "fold": 0} | options
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def test_a_run_is_known_image_by_image_and_so_are_its_initial_weights_and_teachers(tmp_path):
    first = run(tmp_path / "first", "hushem", ["a", "b"])
    teacher = run(tmp_path / "teacher", "folder", ["x", "c"])
    start, taught = f"local-dir:{first / 'model'}", [str(teacher)]
    second = run(tmp_path / "second", "smids", ["x", "y"], "hushem", weights=start, teachers=taught)
    file = str(second / "model" / "model.safetensors")
    third = run(tmp_path / "third", "folder", ["x", "d"], "hushem", "smids", backbone_weights=file)
    assert seen_by(first / "model", "hushem", IMAGES) == {"b"}
    assert seen_by(second / "model", "hushem", IMAGES) == {"b", "c"}
    assert seen_by(third / "model", "hushem", IMAGES) == {"b", "c", "d"}


def test_a_model_elsewhere_is_known_by_its_data_sets(tmp_path):
    published = model(tmp_path / "published", "hushem", "smids")
    assert seen_by(published, "hushem", IMAGES) == seen_by(published, "smids", IMAGES) == set(IMAGES)
    assert seen_by(published, "synthetic", IMAGES) == set()
    assert seen_by(model(tmp_path / "own", "folder"), "folder", IMAGES) == set()


def test_a_run_that_began_with_one_has_seen_the_whole_of_it(tmp_path):
    """Even where a run of the same data set, known image by image, is among what it learned from."""
    published = model(tmp_path / "published", "hushem")
    first = run(tmp_path / "first", "hushem", ["a", "b"])
    teacher = run(tmp_path / "teacher", "folder", ["x"], "hushem", weights=str(published))
    start = str(first / "model")
    second = run(tmp_path / "second", "smids", ["x"], "hushem", weights=start, teachers=[str(teacher)])
    assert seen_by(second / "model", "hushem", IMAGES) == set(IMAGES)
    options = RunConfig("madrnet_test_resnet", "hushem", tmp_path / "out", weights=str(second / "model"))
    with pytest.raises(InputError, match=r"--weights .*second/model: was trained on 4 of the 4 images that fold 0"):
        check_unseen(options, records(IMAGES))


def test_a_converted_copy_counts_as_a_whole(tmp_path):
    """The pixels of none of its images are known, so nobody can tell which ones were seen."""
    start = model(tmp_path / "start", "folder", "hushem")
    originals = sorted(row["pixel_sha256"] for row in read_manifest("hushem").values())
    write_csv(start / "seen.csv", [{"pixel_sha256": value} for value in originals[:5]])
    assert seen_by(start, "hushem", originals[4:9]) == {originals[4]}
    assert seen_by(start, "hushem", originals[5:9]) == set()
    assert seen_by(start, "hushem", IMAGES) == set(IMAGES)
    assert seen_by(start, "folder", IMAGES) == seen_by(start, "smids", IMAGES) == set()


def test_a_start_that_is_gone_counts_as_a_whole(tmp_path):
    gone = run(tmp_path / "run", "smids", ["x"], "hushem", weights=str(tmp_path / "gone"))
    assert seen_by(gone / "model", "hushem", IMAGES) == set(IMAGES)
    assert seen_by(gone / "model", "smids", IMAGES) == set()


def test_a_run_that_names_itself_ends(tmp_path):
    folder = run(tmp_path / "run", "hushem", ["a", "b"], weights=str(tmp_path / "run" / "model"))
    assert seen_by(folder / "model", "hushem", IMAGES) == {"b"}


def test_a_teacher_that_began_with_the_data_set_is_refused(tmp_path):
    published = model(tmp_path / "published", "hushem")
    teacher = run(tmp_path / "teacher", "smids", ["x"], "hushem", weights=str(published))
    words = ([str(teacher)], ["x", "y"], (3, 48, 48))
    with pytest.raises(InputError, match=r"--teacher .*teacher: was trained on 4 of the 4 images"):
        check_teachers(*words, "hushem", IMAGES)
    assert len(check_teachers(*words, "folder", IMAGES)) == 1


def test_what_initial_weights_and_teachers_learned_is_handed_on(tmp_path):
    start = model(tmp_path / "start", "hushem", "synthetic")
    teacher = run(tmp_path / "teacher", "smids", ["x"])
    options = RunConfig("madrnet_test_resnet", "folder", tmp_path / "out", weights=str(start), teachers=(str(teacher),))
    assert experience_before(options).data_sets == ["hushem", "smids", "synthetic"]
    options = RunConfig("madrnet_test_resnet", "folder", tmp_path / "out", backbone_weights=start / "model.safetensors")
    assert experience_before(options).data_sets == ["hushem", "synthetic"]
    assert experience_before(RunConfig("madrnet_test_resnet", "folder", tmp_path / "out")).data_sets == []


def test_pixels_decide_whatever_the_data_set_is_called():
    """Published models have no list of their own: the manifests know what they saw."""
    hushem = [row["pixel_sha256"] for row in read_manifest("hushem").values()]
    for name, expected in (("madrnet_tf_efficientnet_lite0.hushem", 20), ("madrnet_tf_efficientnet_lite0.smids", 0)):
        assert len(seen_by(find_model(name), "folder", [*hushem[:20], "own"])) == expected


def test_a_model_says_itself_what_it_saw(tmp_path):
    """Out of its run folder, with its initial weights gone: pixel by pixel, whatever its data sets are called."""
    alone = model(tmp_path / "alone", "hushem", "smids")
    write_csv(alone / "seen.csv", [{"pixel_sha256": value} for value in ("a", "c", "z")])
    for dataset in ("hushem", "folder"):
        assert seen_by(alone, dataset, IMAGES) == {"a", "c"}
    later = run(tmp_path / "later", "folder", ["x", "d"], weights=str(alone))
    assert seen_by(later / "model", "folder", IMAGES) == {"a", "c", "d"}
    assert seen_pixels([later / "model", alone]) == {"a", "c", "d", "z"}
    (alone / "seen.csv").write_text("name\nx\n")
    with pytest.raises(InputError, match=r"seen\.csv: expected a CSV with the column pixel_sha256"):
        seen_by(alone, "folder", IMAGES)


def test_an_older_run_followed_its_teachers_on_images_without_labels(tmp_path):
    later = run(tmp_path / "later", "folder", ["x"])
    write_csv(later / "unlabelled.csv", [{"pixel_sha256": value} for value in ("b", "z")])
    assert seen_by(later / "model", "folder", IMAGES) == {"b"}


def test_what_was_seen_can_be_left_out(tmp_path):
    start = model(tmp_path / "start", "folder")
    write_csv(start / "seen.csv", [{"pixel_sha256": value} for value in ("b", "c")])
    options = RunConfig("madrnet_test_resnet", "folder", tmp_path / "out", weights=str(start))
    with pytest.raises(
        InputError, match=r"on 3 of the 5 images that fold 0 .* measure without them \(--leave-out-seen"
    ):
        check_unseen(options, records(["a", "b", "b", "c", "d"]))
    options = replace(options, leave_out_seen=True)
    assert check_unseen(options, records(IMAGES)) == {"b", "c"}
    assert check_unseen(options, records(IMAGES, [0, 1, 2, 0])) == {"b", "c"}
    assert check_unseen(options, records(IMAGES, [0, 1, 2, 1])) == {"b", "c", "d"}  # d shows the cell that b shows
    for cells in ([0, 1], [0, 0]):
        with pytest.raises(InputError, match="learned from the cells of all 2 images that fold 0 holds out"):
            check_unseen(options, records(["b", "c"], cells))
    with pytest.raises(InputError, match="learned from the cells of all 2 images"):
        check_unseen(options, records(["a", "b"], [3, 3]))
