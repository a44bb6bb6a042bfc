"""From an image to a prediction: every form the same, whole fields refused, no head no answer."""

import io

import numpy as np
import pytest
from PIL import Image

from madrnet_timm.data.reading import image_files
from madrnet_timm.data.synthetic import draw_head
from madrnet_timm.data.synthetic_field import FieldStyle, draw_field
from madrnet_timm.errors import InputError
from madrnet_timm.inference import Classifier
from madrnet_timm.inference.predict import predict_files


@pytest.fixture(scope="module")
def classifier(model_dir):
    return Classifier(model_dir)


def test_every_form_has_the_same_prediction(classifier, tmp_path):
    head = draw_head("Pyriform", 5).image
    near = np.hypot(*np.mgrid[-65:66, -65:66]) < 45
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(head[..., 1].astype(np.uint16) * 16).save(tmp_path / "12 bits.tif")
    Image.fromarray(np.dstack([head, 255 * near.astype(np.uint8)])).save(tmp_path / "cut-out.png")
    Image.fromarray(np.ascontiguousarray(head[:, 20:])).save(tmp_path / "turned.png", exif=exif)
    paths = image_files([tmp_path])
    assert len(paths) == 3
    found = predict_files(paths, classifier)
    assert found.skipped == []
    forms = zip(
        found.rows, classifier(paths), classifier([Image.open(path) for path in paths]),
        classifier([path.read_bytes() for path in paths]), strict=True,
    )  # fmt: skip
    for row, *predictions in forms:
        for prediction in predictions:
            assert prediction.probabilities == pytest.approx(
                {name: row[f"p_{name}"] for name in classifier.label_names}, abs=1e-6
            )
            assert prediction.head.aspect_ratio == row["aspect_ratio"]
            assert prediction.head.ok


def test_without_a_head_the_model_abstains(model_dir):
    classifier = Classifier(model_dir)
    classifier.threshold = None
    images = [np.full((131, 131, 3), 190, np.uint8), np.zeros((131, 131), np.uint8), draw_head("Normal", 1).image]
    blank, black, head = classifier(images)
    assert blank.head.flags == black.head.flags == {"no_head"}
    assert blank.abstain
    assert black.abstain
    assert not head.abstain


def test_a_whole_field_is_refused_in_every_form(classifier, tmp_path):
    field = np.full((900, 1200, 3), 200, np.uint8)
    Image.fromarray(field).save(tmp_path / "field.png")
    forms = [tmp_path / "field.png", str(tmp_path / "field.png"), field, field[..., 0], Image.fromarray(field)]
    forms.append((tmp_path / "field.png").read_bytes())
    for form in forms:
        with pytest.raises(InputError, match="1200×900 pixels look like a whole field of view"):
            classifier([form])
        with pytest.raises(InputError, match="look like a whole field of view"):
            classifier.tensors([form])
    with pytest.raises(InputError, match="look like a whole field of view"):
        classifier.prepare(field)


def test_every_page_is_explained_and_prepared(madrnet, model_dir, tmp_path):
    """Of a TIFF of several pages each; what is a field is named, and skipped."""
    slide = tmp_path / "slide"
    slide.mkdir()
    first, second = (Image.fromarray(draw_head("Normal", number).image) for number in range(2))
    first.save(slide / "stack.tif", save_all=True, append_images=[second])
    field = draw_field(3, (720, 540), 8, style=FieldStyle(head_length=40)).image
    Image.fromarray(field).save(slide / "small.png")
    made = ["stack.tif-page0001.png", "stack.tif-page0002.png"]
    for command in ("explain", "prepare"):
        run = madrnet(command, slide, "--model", model_dir, "--output", tmp_path / command)
        assert run.returncode == 1, run.stderr
        assert f"{slide / 'small.png'}: looks like a field of view (" in run.stderr
        assert sorted(path.name for path in (tmp_path / command).iterdir()) == made
    classifier = Classifier(model_dir)
    for image, name in zip((first, second), made, strict=True):
        view = np.asarray(Image.open(tmp_path / "prepare" / name))
        assert (view == classifier.prepare(np.asarray(image)).view).all()


def test_explain_skips_a_whole_field(madrnet, model_dir, tmp_path):
    slide = tmp_path / "slide"
    slide.mkdir()
    Image.new("RGB", (9000, 9000)).save(slide / "field.png")
    buffer = io.BytesIO()
    Image.fromarray(draw_head("Normal", 1).image).save(buffer, "PNG")
    (slide / "head.png").write_bytes(buffer.getvalue())
    run = madrnet("explain", slide, "--model", model_dir, "--output", tmp_path / "out")
    assert run.returncode == 1
    assert "field.png: 9000×9000 pixels look like a whole field of view" in run.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["head.png.png"]
    assert run.stdout == f"{tmp_path / 'out'}: attention maps of 1 of 2 images\n"
