"""Every command of the docs' task pages runs, in one folder, in the order of the pages."""

import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from madrnet_timm.data.synthetic import SHAPES, draw_head

from .hub.loopback import WRITER, LoopbackHub

ROOT = Path(__file__).parents[1]
PAGES = ("train", "cross-validate", "predict", "publish", "backbone", "reproduce")
QUICK = ("--epochs", "1", "--img-size", "64", "--batch-size", "8")  # for the commands that train
FEW = ("--folds", "2")


def commands(page: str) -> list[str]:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.strip()]


@pytest.fixture(scope="module")
def place(tmp_path_factory, hushem_dir, lite0_weights):
    """A folder as the pages suppose it: crops of four classes, two slides, weights, an archive, the examples."""
    folder = tmp_path_factory.mktemp("docs")
    for number, shape in enumerate(SHAPES):
        (folder / "my_crops" / shape).mkdir(parents=True)
        for index in range(10):
            image = Image.fromarray(draw_head(shape, 100 * number + index).image)
            image.save(folder / "my_crops" / shape / f"{index}.png")
    for slide in ("slide1", "slide2"):
        (folder / slide).mkdir()
        for index in range(6):
            Image.fromarray(draw_head(SHAPES[index % 4], 900 + index).image).save(folder / slide / f"{index}.png")
    with zipfile.ZipFile(folder / "HuSHeM.zip", "w") as archive:
        for path in hushem_dir.rglob("*.BMP"):
            archive.write(path, path.relative_to(hushem_dir))
    (folder / "tf_efficientnet_lite0.in1k.safetensors").symlink_to(lite0_weights.resolve())
    (folder / "examples").symlink_to(ROOT / "examples")
    hub = LoopbackHub()
    env = {k: v for k, v in os.environ.items() if not k.startswith("HF_HUB")} | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HF_ENDPOINT": hub.url, "HF_TOKEN": WRITER, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HOME": str(folder / "hf"), "XDG_CACHE_HOME": str(folder / "cache"),
    }  # fmt: skip
    yield folder, env
    hub.close()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_commands_of_the_page_run(page, place):
    folder, env = place
    found = commands(page)
    assert len(found) >= 3
    for command in found:
        words = shlex.split(command)
        if any(name in command for name in ("train.py", "cross_validate.py", "distill.py", "ablation.py")):
            words += QUICK
            if "train.py" not in command and "session" not in command:
                words += FEW
        run = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
        assert run.returncode == 0, f"{command}\n{run.stderr[-2000:]}"


def test_every_task_has_its_page_in_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in PAGES:
        assert f"docs/{page}.md" in text


def anchors(path):
    """Of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")], ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if target.startswith(("http:", "https:")):
            continue
        name, _, anchor = target.partition("#")
        found = (path.parent / name).resolve() if name else path
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def test_pages_say_import():
    """Wherever timm is called, madrnet_timm is imported."""
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "hub").rglob("README.md")]:
        for block in re.findall(r"```(?:python|bash)\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL):
            if "timm.create_model" in block or "timm.list_models" in block:
                assert "madrnet_timm" in block, path
