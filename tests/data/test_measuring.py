"""Measurements of many files."""

from PIL import Image

from madrnet_timm.data.measuring import measure_files
from madrnet_timm.data.synthetic import draw_head


def test_an_overlay_folder_whose_place_is_taken(tmp_path):
    paths = [tmp_path / "crops" / name for name in ("a/1.png", "b/2.png")]
    for path in paths:
        path.parent.mkdir(parents=True)
        Image.fromarray(draw_head("Normal", 1).image).save(path)
    overlays = tmp_path / "overlays"
    overlays.mkdir()
    (overlays / "b").touch()  # where a folder should be
    rows, messages = measure_files(paths, overlay=overlays, processes=1)
    assert [row["file"] for row in rows] == [str(path) for path in paths]  # the measurements are kept
    assert len(messages) == 1
    assert "overlays/b" in messages[0]
    assert "can't be written" in messages[0]
    assert [path.name for path in overlays.rglob("*.png")] == ["1.png.png"]
