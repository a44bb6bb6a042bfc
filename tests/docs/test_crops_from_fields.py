"""docs/train.md: its program, which sorts the crops of a field by what a person said in the report."""

import re

import numpy as np
from PIL import Image

from madrnet_timm.data.synthetic_field import FieldStyle, draw_field
from madrnet_timm.files import write_csv, write_image
from madrnet_timm.inference.report.review import COLUMNS, heads_digest
from madrnet_timm.inference.results import read_results

from ..inference.conftest import model_dir  # noqa: F401
from .pages import text_of


def test_the_program_sorts_the_crops(verb, model_dir, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slide1").mkdir()
    write_image(tmp_path / "slide1" / "f.png", draw_field(5, (900, 720), 9, style=FieldStyle("rose", 60.0)).image)
    run = verb("predict", "slide1", "--model", model_dir, "--output", "slide1.csv", "--crops", "slide1-crops")
    assert run.returncode == 0, run.stderr
    results = read_results(tmp_path / "slide1.csv")
    said = ["Normal", "", "Tapered", "Normal"]  # of the others nothing
    rows = [
        dict.fromkeys(COLUMNS, "")
        | {"table": heads_digest(results), "row": number, "file": row["file"], "head": row["head"]}
        | {"person": said[number - 1] if number <= len(said) else "", "struck": "True" if number == 2 else ""}
        for number, row in enumerate(results.rows, 1)
    ]
    write_csv(tmp_path / "slide1.reviewed.csv", rows)
    (program,) = re.findall(r"```python\n(.*?)```", text_of("train"), flags=re.DOTALL)
    exec(program, {})
    sorted_crops = sorted(tmp_path.glob("my_crops/*/*"))
    assert [path.relative_to(tmp_path / "my_crops").as_posix() for path in sorted_crops] == [
        "Normal/slide1-f.png-head01.png", "Normal/slide1-f.png-head04.png", "Tapered/slide1-f.png-head03.png",
    ]  # fmt: skip
    for path in sorted_crops:
        crop = np.asarray(Image.open(tmp_path / "slide1-crops" / path.name.removeprefix("slide1-")))
        assert np.array_equal(np.asarray(Image.open(path)), crop)
