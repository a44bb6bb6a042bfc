"""A folder as the pages suppose it."""

import os
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from madrnet_timm.data.synthetic import SHAPES, draw_head
from madrnet_timm.data.synthetic_field import FieldStyle, draw_field
from madrnet_timm.files import write_image

from ..hub.loopback import WRITER, LoopbackHub
from .pages import ROOT


@pytest.fixture(scope="module")
def place(tmp_path_factory, hushem_dir, lite0_weights):
    """A folder as the pages suppose it: crops of four classes, slides, weights, an archive, the programs."""
    folder = tmp_path_factory.mktemp("docs")
    for number, shape in enumerate(SHAPES):
        (folder / "my_crops" / shape).mkdir(parents=True)
        for index in range(10):
            image = Image.fromarray(draw_head(shape, 100 * number + index).image)
            image.save(folder / "my_crops" / shape / f"{index}.png")
    for first, slide in ((900, "slide1"), (950, "slide2"), (970, "my_slides")):
        (folder / slide).mkdir()
        for index in range(6):
            Image.fromarray(draw_head(SHAPES[index % 4], first + index).image).save(folder / slide / f"{index}.png")
    field = draw_field(3, (900, 720), heads=8, style=FieldStyle("rose", 48.0))
    write_image(folder / "slide1" / "field.png", field.image)
    with zipfile.ZipFile(folder / "HuSHeM.zip", "w") as archive:
        for path in hushem_dir.rglob("*.BMP"):
            archive.write(path, path.relative_to(hushem_dir))
    (folder / "tf_efficientnet_lite0.in1k.safetensors").symlink_to(lite0_weights.resolve())
    for name in ("examples", "tools"):
        (folder / name).symlink_to(ROOT / name)
    hub = LoopbackHub()
    env = {k: v for k, v in os.environ.items() if not k.startswith("HF_HUB")} | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HF_ENDPOINT": hub.url, "HF_TOKEN": WRITER, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HOME": str(folder / "hf"), "XDG_CACHE_HOME": str(folder / "cache"),
    }  # fmt: skip
    yield folder, env
    hub.close()
