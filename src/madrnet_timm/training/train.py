"""A training from its config to its run folder: set up, looped, written."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ..evaluation.controls import Controls
from ..evaluation.metrics import with_probabilities
from ..evaluation.results import Metrics
from .evidence import Evidence, evidence_of_fold
from .freed_memory import freed_memory_kept
from .loop import Loop
from .outcome import Outcome
from .run_config import RunConfig
from .run_folder import RunFolder
from .setup import set_up
from .threads import few_threads

__all__ = ["train", "train_on_all"]


def train(config: RunConfig) -> Metrics:
    """Train one fold and write its run folder.

    Returns:
        The metrics on the held-out fold, beside the controls there.

    Raises:
        InputError: A user's mistake, found before training starts; or a disk that can't be written, later.
    """
    with _running(config) as loop:
        held_out = loop.fit()
        division = loop.setup.division
        labels = division.test_records["label"]
        controls = Controls(division.records).accuracies(division.trained, division.tested)
        metrics = with_probabilities(replace(held_out.metrics, controls=controls), held_out.probabilities, labels)
        if loop.setup.accelerator.is_main_process:
            evidence = evidence_of_fold(config, division, metrics, held_out.probabilities)
            _outcome(loop).write(loop.history, evidence, held_out.probabilities)
    return metrics


def train_on_all(config: RunConfig, evidence: Evidence | None = None) -> None:
    """Train on every image, and write a model folder whose figures come from elsewhere, a cross-validation.

    Args:
        config: With ``fold=None``.
        evidence: What was measured with the same config on folds; None: nothing was, and the model folder says so.

    Raises:
        InputError: See `train`.
    """
    with _running(config) as loop:
        loop.fit()
        if loop.setup.accelerator.is_main_process:
            _outcome(loop).save_model(evidence)


@contextmanager
def _running(config: RunConfig) -> Iterator[Loop]:
    """A loop that has its folder for itself, until everything is written."""
    folder = RunFolder(config.output)
    with few_threads(config.recipe.img_size) as threads, freed_memory_kept():
        try:
            loop = Loop(set_up(config, folder, threads))
            yield loop
            accelerator = loop.setup.accelerator
            if accelerator.is_main_process:
                folder.remove_checkpoint()
            accelerator.wait_for_everyone()
            accelerator.end_training()
        finally:
            folder.release()


def _outcome(loop: Loop) -> Outcome:
    setup = loop.setup
    model = loop.trained_model.eval()
    return Outcome(setup.config, setup.folder, setup.division, model, setup.data_config, setup.before, setup.cost)
