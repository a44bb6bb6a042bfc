"""The docs' task pages, and their commands."""

import re
import shlex
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
OWN_CROPS = ("train", "cross-validate", "predict", "publish", "another-stain")  # each may use what an earlier one made
FIELDS = ("fields",)
HUSHEM = ("backbone", "reproduce")
ONE_FOLD = ("train.py", "madrnet train", "commands.train")
TRAINS = (*ONE_FOLD, "madrnet cross-validate", "madrnet distill", "studies.ablation")
QUICK = ("--epochs", "1", "--img-size", "64", "--batch-size", "8")  # for the commands that train
FEW = ("--folds", "2")
DRAWN = ("--dataset", "folder", "--data-dir", "my_crops")  # 40 images in place of 216 for ten trainings
FOR_A_GPU = {"--mixed_precision bf16": "--mixed_precision no", "madrnet_resnet50": "madrnet_resnet18"}
"""A CPU without the instructions for it takes twelve times as long in bf16."""
INSTALLS = ("python3 -m venv", "pip install")  # what runs the tests is installed already


def text_of(page: str) -> str:
    return (ROOT / ("" if page == "README" else "docs") / f"{page}.md").read_text(encoding="utf-8")


def commands(page: str) -> list[str]:
    text = text_of(page)
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    found = [line.split("  #")[0].strip() for line in lines if line.strip()]
    return [command for command in found if not command.startswith(INSTALLS)]


def run_page(page: str, folder: Path, env: dict[str, str]) -> None:
    """Every command of the page, as it stands there but for the size, number and precision of what is trained."""
    found = commands(page)
    assert len(found) >= 3
    for command in found:
        for part, instead in FOR_A_GPU.items():
            command = command.replace(part, instead)
        words = shlex.split(command)
        if command.startswith("madrnet quickstart"):
            words += ("--epochs", "1")
        if any(name in command for name in TRAINS):
            words += QUICK
            if not any(name in command for name in (*ONE_FOLD, "session")):
                words += FEW
            if "studies.ablation" in command:
                words += DRAWN
        run = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
        assert run.returncode == 0, f"{command}\n{run.stderr[-2000:]}"
