"""A model folder with everything that prediction and report read, around a small network without training."""

from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from torch import nn

import madrnet_timm  # noqa: F401
from madrnet_timm.data.domain import domain_features
from madrnet_timm.data.reading import pixel_sha256
from madrnet_timm.data.synthetic import draw_head
from madrnet_timm.data.synthetic_field import FieldStyle, draw_field
from madrnet_timm.evaluation.calibration import Calibration
from madrnet_timm.evaluation.domain import domain_ranges
from madrnet_timm.evaluation.guarantee import Guarantee
from madrnet_timm.evaluation.prediction_sets import SetRule
from madrnet_timm.evaluation.selection import Candidate
from madrnet_timm.hub.description import DataConfig, Description
from madrnet_timm.hub.model_folder import save_model_folder
from madrnet_timm.hub.model_info import ModelInfo
from madrnet_timm.inference import Classifier
from madrnet_timm.inference.field_record import FieldRecord
from madrnet_timm.inference.predict import prediction_row
from madrnet_timm.inference.predicted import Predicted
from madrnet_timm.inference.results import read_results, write_results
from madrnet_timm.morphology import measure

NAMES = ["Normal", "Tapered", "Pyriform", "Amorphous"]


class Interrupted(Classifier):
    """Predicts two batches, then somebody presses Ctrl-C."""

    left = 2

    def predict(self, prepared):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return super().predict(prepared)


def build_model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = timm.create_model("madrnet_test_resnet", num_classes=4).eval()
    for module in model.modules():  # away from the identity, so that images differ in their logits
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    nn.init.normal_(model.classifier.weight, std=0.3)
    return model


def write_model(path: Path, seed: int = 0) -> Path:
    heads = [draw_head(NAMES[number % 4], number).image for number in range(60)]
    info = ModelInfo(
        version="0.1.0",
        dataset="synthetic",
        pipeline="aligned-normalized",
        normal_class="Normal",
        protocol="drawn heads",
        accuracy=0.9,
        held_out=200,
        confusion_matrix=((45, 5, 0, 0), (2, 48, 0, 0), (0, 0, 50, 0), (3, 0, 0, 47)),
        calibration=Calibration(1.5, 200, 0.02),
        guarantee=Guarantee(
            180,
            0.05,
            0.95,
            (Candidate(0.0, 180, 20, 0.19), Candidate(0.4, 160, 2, 0.06), Candidate(0.6, 90, 0, 0.055)),
            SetRule(0.95, (0.2, 0.3, 0.15, 0.1), (True, True, True, False)),
        ),
        domain=domain_ranges([domain_features(image, measure(image)) for image in heads]),
    )
    data_config: DataConfig = {
        "input_size": (3, 64, 64), "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5),
        "interpolation": "bicubic", "crop_pct": 1.0,
    }  # fmt: skip
    save_model_folder(
        build_model(seed),
        path,
        Description("madrnet_test_resnet", NAMES, data_config, info),
        card="---\nlicense: apache-2.0\nlibrary_name: timm\n---\n\n# A model\n",
    )
    return path


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture(scope="session")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve drawn heads, one unreadable file, one whole field, and one of another stain."""
    folder = tmp_path_factory.mktemp("crops")
    for number in range(12):
        Image.fromarray(draw_head(NAMES[number % 4], 50 + number).image).save(folder / f"head{number:02}.png")
    green = draw_head("Normal", 70).image[..., [1, 0, 2]]
    Image.fromarray(green.copy()).save(folder / "other_stain.png")
    (folder / "broken.png").write_bytes(b"nothing")
    Image.new("RGB", (1600, 1200), "pink").save(folder / "field.png")
    return folder


def _field_rows(path, field, classifier, side):
    """A row for each head of a drawn field, by its true box."""
    height, width = field.image.shape[:2]
    for number, head in enumerate(field.heads, 1):
        left, top = (
            round(min(max(middle - side / 2, 0), end - side))
            for middle, end in zip(head.center, (width, height), strict=True)
        )
        (found,) = classifier([field.image[top : top + side, left : left + side]])
        row = prediction_row(str(path), found, pixel_sha256(field.image))
        row |= dict(zip(("x0", "y0", "x1", "y1"), map(int, head.box), strict=True))
        x, y = map(float, head.center)
        yield row | {"head": number, "center_x": x, "center_y": y, "counted": not head.touches_border}


@pytest.fixture(scope="session")
def field_table(model_dir, tmp_path_factory):
    """The table of three drawn fields with six heads each, two of them at the border, and of one without a head."""
    folder, side, classifier = tmp_path_factory.mktemp("fields"), 130, Classifier(model_dir)
    found, style = Predicted(), FieldStyle(stain="rose", head_length=48)
    for number in range(4):
        field = draw_field(number, (900, 700), heads=4 * (number < 3), at_border=2 * (number < 3), style=style)
        path = folder / f"field{number}.png"
        Image.fromarray(field.image).save(path)
        rows = list(_field_rows(path, field, classifier, side))
        found.rows += rows
        found.fields.append(
            FieldRecord(
                str(path), None, 900, 700, len(rows), sum(not row["counted"] for row in rows), 48.0, side, None, "",
                "" if rows else "nothing that looks like a head", pixel_sha256(field.image),
            )
        )  # fmt: skip
    write_results(folder / "slide.csv", found, classifier, command="madrnet predict fields --output slide.csv")
    return read_results(folder / "slide.csv")
