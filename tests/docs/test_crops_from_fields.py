"""docs/train.md: its program, which sorts the crops of a field by what a person said in the report."""

import re

import numpy as np
from PIL import Image

from madrnet_timm.data.synthetic import draw_head
from madrnet_timm.data.synthetic_field import FieldStyle, draw_field
from madrnet_timm.files import write_csv, write_image
from madrnet_timm.inference.report.review import COLUMNS, heads_digest
from madrnet_timm.inference.results import read_results

from ..inference.conftest import model_dir  # noqa: F401
from .pages import text_of


def test_the_program_sorts_the_crops(verb, model_dir, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slide1").mkdir()
    fields = [draw_field(seed, (900, 720), 9, style=FieldStyle("rose", 60.0)).image for seed in (5, 6, 7)]
    write_image(tmp_path / "slide1" / "f.png", fields[0])
    first, second = map(Image.fromarray, fields[1:])
    first.save(tmp_path / "slide1" / "s.tif", save_all=True, append_images=[second])
    write_image(tmp_path / "slide1" / "crop.png", draw_head("Normal", 1).image)
    run = verb("predict", "slide1", "--model", model_dir, "--output", "slide1.csv", "--crops", "slide1-crops")
    assert run.returncode == 0, run.stderr
    results = read_results(tmp_path / "slide1.csv")
    said = {(None, 1): "Normal", (None, 3): "Tapered", (None, None): "Normal", (1, 1): "Normal", (2, 2): "Tapered"}
    rows = [
        dict.fromkeys(COLUMNS, "")
        | {"table": heads_digest(results), "row": number, "file": row["file"]}
        | {"page": row["page"] or "", "head": row["head"] or "", "person": said.get((row["page"], row["head"]), "")}
        for number, row in enumerate(results.rows, 1)
    ]
    write_csv(tmp_path / "slide1.reviewed.csv", rows)
    (program,) = re.findall(r"```python\n(.*?)```", text_of("train"), flags=re.DOTALL)
    exec(program, {})
    sorted_crops = sorted(tmp_path.glob("my_crops/*/*"))
    assert [path.relative_to(tmp_path / "my_crops").as_posix() for path in sorted_crops] == [
        "Normal/slide1-f.png-head01.png", "Normal/slide1-s.tif-page0001-head01.png",
        "Tapered/slide1-f.png-head03.png", "Tapered/slide1-s.tif-page0002-head02.png",
    ]  # fmt: skip
    for path in sorted_crops:
        crop = np.asarray(Image.open(tmp_path / "slide1-crops" / path.name.removeprefix("slide1-")))
        assert np.array_equal(np.asarray(Image.open(path)), crop)
