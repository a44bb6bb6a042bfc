"""What the README's code blocks say runs, but for the installation, and with less training."""

import re
import subprocess
import sys

import pytest

from .pages import run_page, text_of


@pytest.fixture(scope="module")
def readmes_place(place, hushem_dir):
    """The folder of the pages, with the images that the README names."""
    folder, env = place
    (folder / "HuSHeM").symlink_to(hushem_dir.resolve())
    for number in (1, 2):
        (folder / f"head{number}.png").symlink_to(folder / "slide1" / f"{number}.png")
    return folder, env


@pytest.mark.slow
def test_its_commands_run(readmes_place):
    run_page("README", *readmes_place)


@pytest.mark.slow
def test_its_programs_run(readmes_place):
    folder, env = readmes_place
    programs = re.findall(r"```python\n(.*?)```", text_of("README"), flags=re.DOTALL)
    assert len(programs) == 2
    for program in programs:
        run = subprocess.run([sys.executable, "-c", program], cwd=folder, env=env, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
