"""A small folder of drawn heads, and the training command in this process, which may be cut off."""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState, GradientState, PartialState
from PIL import Image
from safetensors.torch import load_file

from madrnet_timm import cli
from madrnet_timm.data.synthetic import draw_head

# enough to go through everything in seconds
SMALL = ["--model", "madrnet_test_resnet", "--img-size", "48", "--batch-size", "8", "--folds", "2"]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as opened:
        return list(csv.DictReader(opened))


def written(folder: Path) -> dict[str, object]:
    """What a run says, and the weights of its model; the header of a weights file has no order."""
    names = ("config.yaml", "folds.csv", "history.csv", "metrics.json", "predictions.csv", "model/config.json")
    weights = load_file(folder / "model" / "model.safetensors")
    return {name: (folder / name).read_text() for name in (*names, "model/README.md")} | {
        name: value.numpy().tobytes() for name, value in weights.items()
    }


@contextmanager
def killed_in(epoch: int) -> Iterator[None]:
    """A training in it is cut off in that epoch, from 0; a checkpoint is written after each."""
    from madrnet_timm.training import loop

    real = loop.Loop._train_epoch

    def killed(self, number, bar):
        if number == epoch:
            raise KeyboardInterrupt
        return real(self, number, bar)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_CHECKPOINT_SECONDS", 0.0)
        patch.setattr(loop.Loop, "_train_epoch", killed)
        yield


def write_heads(folder: Path, per_class: int = 8, classes: tuple[str, ...] = ("Normal", "Tapered")) -> Path:
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(per_class):
            image = draw_head(name, seed=100 * label + index, size=80).image
            Image.fromarray(image).save(folder / name / f"{index}.png")
    return folder


@pytest.fixture
def heads(tmp_path: Path) -> Path:
    return write_heads(tmp_path / "heads")


@pytest.fixture
def own_precision() -> Iterator[None]:
    """Let a test train in a precision of its own: Accelerate keeps the first one of a process."""
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    yield
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


@pytest.fixture(scope="session")
def train_command() -> Callable[..., int]:
    """Run ``madrnet train`` with arguments; returns its exit status."""

    def run(*args: object) -> int:
        try:
            cli.main(["train", *map(str, args)])
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    return run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, train_command: Callable[..., int]) -> tuple[Path, Path, list[object]]:
    """A finished run on drawn heads: its folder, the heads, and the arguments of its command."""
    tmp = tmp_path_factory.mktemp("run")
    data = write_heads(tmp / "heads", per_class=14)
    args = ["--dataset", "folder", "--data-dir", data, "--output", tmp / "run", *SMALL, "--epochs", 3]
    assert train_command(*args) == 0
    return tmp / "run", data, args
