"""The published models in hub/: their cards, their tables, and what `madrnet models` says of them."""

import json
import re
from pathlib import Path

import pytest
import timm
from huggingface_hub import ModelCard

from madrnet_timm.data.sources import SOURCES
from madrnet_timm.files import read_csv, sha256_of
from madrnet_timm.hub.cost import cost_of
from madrnet_timm.hub.model_folder import ModelFolder
from madrnet_timm.models.pretrained import full_name, published_models
from madrnet_timm.training.shipping import published_card
from tools.models import BENCHMARK, REFERENCE, RESULTS, result, speed_rows

HUB = Path(__file__).parents[2] / "hub"


@pytest.mark.parametrize("name", published_models())
def test_cards_are_read_by_the_client(name):
    """Front matter that the client parses, figures of the run beside it, weights as models.yaml says."""
    folder, entry = HUB / name, published_models()[name]
    card = ModelCard.load(folder / "README.md")
    assert (card.data.library_name, card.data.pipeline_tag) == ("timm", "image-classification")
    assert card.data.base_model == entry.base_model
    results = {result.metric_type: result for result in card.data.eval_results}
    summary = json.loads((folder / "summary.json").read_text())
    for key in ("accuracy", "precision", "recall", "f1"):
        assert results[key].metric_value == pytest.approx(summary["pooled"][key], abs=1e-4)
        assert results[key].dataset_name == SOURCES[entry.dataset].title
    assert entry.sha256 == sha256_of(folder / "model.safetensors")
    assert entry.config_sha256 == sha256_of(folder / "config.json")
    size = (folder / "model.safetensors").stat().st_size
    assert entry.size == size < 2.1 * entry.parameters  # half precision
    assert entry.right == pytest.approx(summary["right"], abs=0.01)


@pytest.mark.parametrize("name", published_models())
def test_cards_say_what_a_user_has_to_know(name):
    folder, entry = HUB / name, published_models()[name]
    text = (folder / "README.md").read_text()
    snippets = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(snippets) == 3
    assert all("import madrnet_timm" in snippet for snippet in snippets)
    assert not re.search(r"examples/(?!train\.py)", text)
    assert (folder / re.search(r"!\[confusion matrix\]\((.*?)\)", text)[1]).is_file()
    for words in (
        entry.train,
        "@misc{",
        "Research use only",
        "## Limits",
        SOURCES[entry.dataset].doi,
        "GMACs",
        "PyTorch |",
    ):
        assert words in text


def test_tables_and_cards_are_those_of_the_tool():
    times = {row["model"]: row for row in read_csv(BENCHMARK)}
    assert {*times} == {*published_models(), REFERENCE}
    assert read_csv(RESULTS) == [{k: str(v) for k, v in result(name).items()} for name in published_models()]
    for name, entry in published_models().items():
        assert (HUB / name / "README.md").read_text() == published_card(HUB / name, entry, speed_rows(times[name]))
        parameters = sum(weight.numel() for weight in ModelFolder(HUB / name).outline().parameters())
        assert (entry.parameters, times[name]["param_count"]) == (parameters, f"{parameters / 1e6:.2f}")


@pytest.mark.parametrize(
    ("model", "parameters", "gmacs", "macts"),
    [("resnet50", 25.56, 4.11, 11.11), ("mobilenetv2_100", 3.50, 0.31, 6.68)],  # timm's results/model_benchmark
)
def test_costs_are_those_of_timms_tables(model, parameters, gmacs, macts):
    cost = cost_of(timm.create_model(model, device="meta").eval(), 224)
    assert cost.parameters / 1e6 == pytest.approx(parameters, abs=0.01)
    assert cost.gmacs == pytest.approx(gmacs, rel=0.04)
    assert cost.macts == pytest.approx(macts, rel=0.01)


def test_a_name_without_its_tag_is_what_timm_takes_it_for():
    architectures = {entry.architecture for entry in published_models().values()}
    for name in architectures:
        assert full_name(name) == f"{name}.{timm.get_pretrained_cfg(name).tag}"
        assert published_models()[full_name(name)].default
    assert full_name("madrnet_test_resnet") == "madrnet_test_resnet"
    assert full_name("madrnet_tf_efficientnet_lite0.smids") == "madrnet_tf_efficientnet_lite0.smids"


def test_madrnet_models(madrnet, tmp_path):
    """A name, its data, accuracy, size, and where it lies; the first place wins."""
    name = full_name("madrnet_tf_efficientnet_lite0")
    (tmp_path / name).mkdir()
    (tmp_path / name / "model.safetensors").touch()
    run = madrnet("models", MADRNET_HUB_DIR=str(tmp_path))
    assert run.returncode == 0, run.stderr
    rows = {line.split()[0]: line for line in run.stdout.splitlines() if line.startswith("madrnet_")}
    assert {row.rstrip("*") for row in rows} == set(published_models())
    row = rows[f"{name}*"]
    assert re.search(r"HuSHeM +95\.1 % \[91\.3, 97\.2\] of 216 +23\.8 MB", row)
    assert row.endswith(f"$MADRNET_HUB_DIR: {tmp_path / name}")
    other = rows["madrnet_tf_efficientnet_lite0.hushem"]
    assert other.endswith(f"hub/ of the checkout: {HUB / 'madrnet_tf_efficientnet_lite0.hushem'}")
