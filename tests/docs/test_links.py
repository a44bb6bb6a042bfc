"""The docs' links and their words."""

import re

import pytest

from .pages import HUSHEM, OWN_CROPS, ROOT


def test_every_task_has_its_page_in_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in OWN_CROPS + HUSHEM:
        assert f"docs/{page}.md" in text


def test_every_page_stands_in_the_index():
    text = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"]({page.name})" in text


def anchors(path):
    """Of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "hub").rglob("*.md")})


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if target.startswith(("http:", "https:")):
            continue
        name, _, anchor = target.partition("#")
        found = (path.parent / name).resolve() if name else path
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def test_only_scripts_that_are_there_are_named():
    """And by what is installed or lies on a Hub, without a checkout, no other than that of the trainings."""
    package = [*(ROOT / "src").rglob("*.py"), *(ROOT / "src").rglob("*.yaml"), *(ROOT / "hub").rglob("*.md")]
    for path in [*package, ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        named = set(re.findall(r"\b(?:examples|tools)/[\w/]+\.py", path.read_text(encoding="utf-8")))
        assert all((ROOT / script).is_file() for script in named), path
        assert path not in package or not {name for name in named if "examples" in name} - {"examples/train.py"}, path


def test_pages_say_import():
    """Wherever timm is called, madrnet_timm is imported."""
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "hub").rglob("README.md")]:
        for block in re.findall(r"```(?:python|bash)\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL):
            if "timm.create_model" in block or "timm.list_models" in block:
                assert "madrnet_timm" in block, path
