"""`madrnet_timm.create_transform`: what `timm.data.create_transform` is for timm's own models."""

import copy
import json
import pickle
import shutil
import warnings

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.models import save_for_hf

import madrnet_timm
from madrnet_timm.data.synthetic import draw_head
from madrnet_timm.errors import InputError
from madrnet_timm.hub.description import Description
from madrnet_timm.hub.model_folder import ModelFolder, save_model_folder
from madrnet_timm.hub.model_info import ModelInfo
from madrnet_timm.inference import Classifier
from madrnet_timm.morphology.align import REFERENCE_BACKGROUND

NAME = "madrnet_tf_efficientnet_lite0.smids_ft_hushem"


def load(folder, **kwargs):
    return timm.create_model(f"local-dir:{folder}", pretrained=True, **kwargs).eval()


@pytest.fixture
def heads():
    return [draw_head("Tapered", 20 + number).image for number in range(4)]


@pytest.fixture
def raw(heads):
    """The same by timm's own transform."""
    transform = timm.data.create_transform((3, 64, 64), mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=1.0)
    return torch.stack([transform(Image.fromarray(head)) for head in heads])


@pytest.fixture
def plain_dir(tmp_path):
    """A plain timm model's folder."""
    data_config = timm.data.resolve_data_config({"input_size": (3, 64, 64)})
    description = Description("test_resnet", ["Normal", "Tapered"], data_config, ModelInfo(pipeline="head-only"))
    save_model_folder(timm.create_model("test_resnet", num_classes=2), tmp_path / "plain", description, card="")
    return tmp_path / "plain"


def test_timms_way_gives_what_predict_gives(hushem_dir):
    """The published model through timm, on real images of all classes, in silence."""
    paths = [path for name in sorted(hushem_dir.iterdir()) for path in sorted(name.iterdir())[:3]]
    model = timm.create_model(NAME, pretrained=True).eval()
    transform = madrnet_timm.create_transform(model)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("error", UserWarning)
        classes = model(torch.stack([transform(path) for path in paths])).argmax(1)
    names = [model.pretrained_cfg["label_names"][number] for number in classes]
    assert names == [prediction.label for prediction in Classifier(NAME)(paths)]
    assert [path.parent.name.partition("_")[2] for path in paths] == names  # it was trained on them


def test_any_form_of_an_image_gives_the_same(model_dir, heads, tmp_path):
    transform = madrnet_timm.create_transform(load(model_dir))
    Image.fromarray(heads[0]).save(tmp_path / "head.png")
    expected = Classifier(model_dir).tensors([heads[0]])[0]
    assert (expected.shape, expected.dtype) == ((3, 64, 64), torch.float32)
    with Image.open(tmp_path / "head.png") as opened:
        for form in (heads[0], opened, tmp_path / "head.png", (tmp_path / "head.png").read_bytes()):
            assert torch.equal(transform(form), expected)
    with pytest.raises(InputError, match="whole field"):
        transform(np.zeros((1200, 1600, 3), np.uint8))


@pytest.mark.parametrize("source", ["name", "folder", "features", "loaded"])
def test_the_pipeline_is_in_the_configuration(source, model_dir):
    if source == "name":
        model, expected = timm.create_model(NAME, pretrained=True), "head-and-neck"
    elif source == "loaded":
        model, expected = ModelFolder(model_dir).load(), "aligned-normalized"
    else:
        model, expected = load(model_dir, features_only=source == "features"), "aligned-normalized"
    assert model.pretrained_cfg["notes"][0] == f"pipeline: {expected}"
    assert madrnet_timm.create_transform(model).pipeline == expected


def test_timm_carries_it_on(model_dir, tmp_path):
    """Into a folder that timm itself writes, from which this package reads it, too."""
    save_for_hf(load(model_dir), tmp_path / "again", safe_serialization=True)
    assert "madrnet" not in json.loads((tmp_path / "again" / "config.json").read_text())
    again = madrnet_timm.create_transform(load(tmp_path / "again"))
    assert again == madrnet_timm.create_transform(load(model_dir)) == Classifier(tmp_path / "again").transform


def test_a_plain_timm_model(plain_dir, heads, monkeypatch):
    model = load(plain_dir)
    transform = madrnet_timm.create_transform(model)
    assert (transform.pipeline, transform.size) == ("head-only", 64)
    assert torch.equal(transform(heads[0]), Classifier(plain_dir).tensors([heads[0]])[0])
    del model.pretrained_cfg["notes"]  # as in folders of version 0.1.0
    assert madrnet_timm.create_transform(model) == transform
    shutil.rmtree(plain_dir)
    with pytest.raises(InputError, match=r"plain: the config\.json that the model was loaded with is not there"):
        madrnet_timm.create_transform(model)
    assert madrnet_timm.create_transform(model, "aligned").pipeline == "aligned"


def test_without_weights_and_without_a_model():
    assert madrnet_timm.create_transform(timm.create_model("madrnet_test_resnet")).pipeline == "raw"
    with pytest.raises(InputError, match="expected a model made by timm"):
        madrnet_timm.create_transform(torch.nn.Linear(2, 2))
    with pytest.raises(InputError, match="expected square images of three channels"):
        madrnet_timm.create_transform(timm.create_model("madrnet_test_resnet", in_chans=1))
    with pytest.raises(InputError, match="pipeline 'no': expected one of"):
        madrnet_timm.create_transform(timm.create_model("test_resnet"), "no")


class Heads(torch.utils.data.Dataset):
    def __init__(self, images, transform):
        self.images, self.transform = images, transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(self.images[index])


def test_loaders_and_data_sets(model_dir, heads):
    from datasets import Dataset

    transform = madrnet_timm.create_transform(load(model_dir))
    expected = torch.stack([transform(head) for head in heads])
    assert pickle.loads(pickle.dumps(transform)) == transform
    loader = torch.utils.data.DataLoader(Heads(heads, transform), 4, num_workers=1, multiprocessing_context="spawn")
    (batch,) = loader
    assert torch.equal(batch, expected)
    rows = Dataset.from_dict({"image": [Image.fromarray(head) for head in heads], "label": [0, 1, 1, 0]})
    rows.set_transform(transform)
    assert rows[1]["label"] == 1
    assert torch.equal(rows[1]["image"], expected[1])
    assert torch.equal(torch.stack(rows[:]["image"]), expected)
    assert torch.equal(transform({"image": heads[2]})["image"], expected[2])
    with pytest.raises(InputError, match="a batch with the columns pixels: expected one that is named 'image'"):
        transform({"pixels": heads})


def warned(model, *batches):
    with warnings.catch_warnings(record=True) as found, torch.inference_mode():
        warnings.simplefilter("always")
        for batch in batches:
            model(batch)
    return [warning for warning in found if "create_transform" in str(warning.message)]


def test_images_prepared_otherwise_are_told_once(model_dir, heads, raw):
    model = load(model_dir)
    right = torch.stack([madrnet_timm.create_transform(model)(head) for head in heads])
    assert not warned(copy.deepcopy(model), *[right] * 5)
    (warning,) = warned(model, raw, raw, raw)
    assert "prepared by the pipeline 'aligned-normalized'" in str(warning.message)
    assert warning.filename == __file__
    assert len(warned(load(model_dir), raw[:1])) == 1
    assert len(warned(load(model_dir), right * 0.5 + 0.5)) == 1  # 0 to 1, not normalised
    assert len(warned(load(model_dir), torch.cat([right[:3], raw[:1]]))) == 0
    assert not warned(ModelFolder(model_dir).load(), raw)  # the package's own calls prepare


def test_a_model_of_mixed_views_takes_images_as_they_lie(model_dir, tmp_path, raw):
    folder = shutil.copytree(model_dir, tmp_path / "mixed")
    config = json.loads((folder / "config.json").read_text())
    config["madrnet"]["mixed_views"] = True
    (folder / "config.json").write_text(json.dumps(config))
    assert not warned(load(folder), raw)
    assert madrnet_timm.create_transform(load(folder)).pipeline == "aligned-normalized"


def test_what_is_trained_again_is_left_alone(model_dir, raw):
    model = load(model_dir, num_classes=2)
    model.train()(raw)
    assert not warned(model.eval(), raw)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_nothing_is_looked_at_where_there_are_no_values(model_dir, raw):
    """Compiled without a graph break, exported, traced by fx, scripted, vmapped, without memory."""
    model = load(model_dir, scriptable=True)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("error", message=".*create_transform.*")
        expected = copy.deepcopy(ModelFolder(model_dir).load())(raw)
        made = [
            torch.compile(model, backend="eager", fullgraph=True),
            torch.export.export(model, (raw,)).module(),
            torch.fx.symbolic_trace(model),
            torch.jit.script(model),
            torch.jit.trace(model, raw, check_trace=False),
        ]
        for form in made:
            torch.testing.assert_close(form(raw), expected)
        assert torch.func.vmap(model)(raw[None]).shape == (1, 4, 4)
        assert model.to("meta")(raw.to("meta")).shape == (4, 4)
    assert model.input_check.images == 0


def test_the_border_is_the_reference_colour():
    """What the check relies on."""
    from madrnet_timm.data.pipelines import WITH_REFERENCE_BACKGROUND, prepare

    for pipeline in WITH_REFERENCE_BACKGROUND:
        border = prepare(draw_head("Pyriform", 3).image, pipeline, 64)[0].astype(int)
        assert np.abs(np.median(border, axis=0) - REFERENCE_BACKGROUND).max() <= 4
