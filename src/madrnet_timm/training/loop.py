"""The loop: epochs, what they measure on the held-out images, and checkpoints."""

import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast, broadcast_object_list
from numpy.typing import NDArray
from timm.utils import ModelEmaV3
from torch import nn
from tqdm import tqdm

from ..errors import InputError
from ..evaluation.metrics import ClassificationMetrics
from ..evaluation.results import FIGURES, Metrics
from ..files import beside_path, read_csv, replacing_folder, write_csv
from ..hub.weights import fill
from ..values import Values
from .batch_loss import BatchLoss
from .finite import check_finite, check_loss, check_weights
from .optimizer import create_scheduler
from .setup import Setup
from .soup import Soup

__all__ = ["HeldOut", "Loop"]

_CHECKPOINT_SECONDS = 60.0


@dataclass
class _Progress:
    """Epochs done and their history, and by how many processes; part of the checkpoint."""

    processes: int
    history: list[dict[str, float]] = field(default_factory=list)

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        before = state.get("processes", self.processes)  # older checkpoints do not say
        if before != self.processes:
            raise InputError(
                f"--resume: the training was begun by {before} processes, and these are {self.processes}: an epoch has "
                f"other steps; continue it with accelerate launch --num_processes {before}, or choose another --output"
            )
        self.history = state["history"]


@dataclass(frozen=True)
class HeldOut:
    """What a model says of the images that it is measured on.

    Attributes:
        metrics: On those.
        probabilities: ``(images, classes)``, in the order of the records.
    """

    metrics: Metrics
    probabilities: NDArray[np.float32]


class Loop:
    """The epochs of a training, or of several from the same initial weights, one after the other (`Recipe.soup`).

    Args:
        setup: What it computes with.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        recipe, accelerator = setup.config.recipe, setup.accelerator
        self.bare = setup.bare_model
        self.loss = BatchLoss(setup)
        steps = len(setup.images.train_loader)
        self.scheduler = create_scheduler(setup.optimizer.optimizer, recipe, recipe.epochs * steps)
        self.ema = ModelEmaV3(self.bare, recipe.ema_decay, use_warmup=True) if recipe.ema_decay else None
        self.progress = _Progress(accelerator.num_processes)
        accelerator.register_for_checkpointing(self.progress, self.scheduler)
        if self.ema is not None:
            accelerator.register_for_checkpointing(self.ema)
        self.soup = Soup(setup, self.scheduler, self.ema) if recipe.soup > 1 else None
        if self.soup is not None:
            accelerator.register_for_checkpointing(self.soup.mean)

    @property
    def history(self) -> list[dict[str, float]]:
        """One row per epoch."""
        return self.progress.history

    @property
    def epochs(self) -> int:
        """Of all trainings."""
        return self.setup.config.recipe.epochs * self.setup.config.recipe.soup

    @property
    def trained_model(self) -> nn.Module:
        """The model that is measured and kept: the moving average of the weights, where there is one.

        Of several trainings it is that of each, and in the end the mean of these.
        """
        if self.soup is not None and self.soup.complete:
            return self.soup.mean.module
        return self.bare if self.ema is None else self.ema.module

    def fit(self) -> HeldOut:
        """Train to the last epoch; the held-out fold chooses nothing.

        Returns:
            What the last epoch measured.

        Raises:
            InputError: Numbers that are not finite; a disk that can't be written.
        """
        recipe, accelerator, epochs = self.setup.config.recipe, self.setup.accelerator, self.epochs
        done, steps = self._load_checkpoint(), len(self.setup.images.train_loader)
        disable = None if accelerator.is_main_process else True
        bar = tqdm(total=epochs * steps, initial=done * steps, unit="step", disable=disable)
        held_out, saved = None, time.monotonic()
        for epoch in range(done, epochs):
            bar.set_description(f"epoch {epoch + 1}/{epochs}")
            if self.soup is not None and epoch and epoch % recipe.epochs == 0:
                self.soup.begin_again()
            losses = self._train_epoch(epoch, bar)
            for model in (self.bare, *([] if self.ema is None else [self.ema.module])):
                check_weights(model, epoch, recipe)
            if self.soup is not None and (epoch + 1) % recipe.epochs == 0:
                self.soup.add(self.trained_model, epoch + 1)
            held_out = self.evaluate()
            self._note(epoch, losses, held_out.metrics, bar)
            due = time.monotonic() - saved > _CHECKPOINT_SECONDS or epoch + 1 == epochs
            if broadcast_object_list([due])[0]:  # by the first process's clock
                self._save_checkpoint()
                saved = time.monotonic()
        bar.close()
        return held_out or self.evaluate()  # where the last epoch was done before

    @torch.no_grad()
    def evaluate(self) -> HeldOut:
        """Measure the model on the held-out images: in float32, as it will be used, whatever it is trained in."""
        setup, names = self.setup, self.setup.division.names
        model: Any = self.trained_model.eval()
        broadcast(list(model.buffers()))  # each process has batch statistics of its own: those of the first are saved
        forward = type(model).forward  # without Accelerate's wrapping, which computes in the training's precision
        metric = ClassificationMetrics(names, keep_in_memory=True)
        probabilities = np.zeros((len(setup.division.test_records), len(names)), dtype=np.float32)
        for batch in setup.images.test_loader:
            views = [batch["image"], *batch.get("others", ())]
            logits = torch.stack([forward(model, setup.images.network_input(view)) for view in views])
            check_finite(logits, "the output for an image", len(self.history), setup.config.recipe)
            outputs = logits.softmax(dim=-1).mean(dim=0), batch["label"], batch["index"]
            gathered = setup.accelerator.gather_for_metrics(outputs)
            probability, label, index = (value.cpu().numpy() for value in gathered)
            probabilities[index] = probability
            metric.add_batch(predictions=probability.argmax(axis=1), references=label)
        return HeldOut(Metrics.taken(Values(metric.compute(), "metrics")), probabilities)

    def _train_epoch(self, epoch: int, bar: tqdm) -> dict[str, float]:
        setup, accelerator, recipe = self.setup, self.setup.accelerator, self.setup.config.recipe
        setup.model.train()
        setup.images.set_epoch(epoch)
        sums: dict[str, torch.Tensor] = {}
        for step, batch in enumerate(setup.images.train_loader):
            total, parts = self.loss(batch)
            accelerator.backward(total)
            norm = accelerator.clip_grad_norm_(setup.model.parameters(), recipe.clip_grad)
            # fp16 leaves out steps with infinite gradients
            check_loss(total, None if accelerator.scaler else norm, epoch, step, recipe)
            setup.optimizer.step()
            setup.optimizer.zero_grad()
            self.scheduler.step()
            if self.ema is not None:
                self.ema.update(self.bare, step=self.scheduler.last_epoch)
            for name, value in ({"loss": total} | {f"loss_{k}": v for k, v in parts.items()}).items():
                sums[name] = sums.get(name, torch.zeros((), device=value.device)) + value.detach()
            bar.update()
        steps = len(setup.images.train_loader)
        means = {name: accelerator.reduce(value, "mean") / steps for name, value in sums.items()}
        return {name: float(value) for name, value in means.items()}

    def _note(self, epoch: int, losses: Mapping[str, float], metrics: Metrics, bar: tqdm) -> None:
        """Put an epoch on the screen, into the history, and to the tracker."""
        setup = self.setup
        row = {"epoch": epoch + 1, **losses, **{name: getattr(metrics, name) for name in FIGURES}}
        if setup.criterion.log_weights:
            row |= {f"weight_{name}": value for name, value in setup.criterion.weights().items()}
        row |= {f"f1_{name}": figures.f1 for name, figures in metrics.per_class.items()}
        self.history.append(row)
        if setup.accelerator.is_main_process:
            bar.write(_epoch_line(row, self.epochs, setup.config.fold is not None))
            sys.stdout.flush()
            write_csv(setup.folder.history, self.history)
        setup.accelerator.log({k: v for k, v in row.items() if k != "epoch"}, step=epoch + 1)

    def _load_checkpoint(self) -> int:
        """Go on where a training was cut off; returns the number of epochs that are done."""
        config, folder, accelerator = self.setup.config, self.setup.folder, self.setup.accelerator
        if accelerator.is_main_process:
            folder.settle()
        accelerator.wait_for_everyone()
        if config.resume and folder.finished:
            self._load_finished()
        elif config.resume and folder.checkpoint.exists():
            accelerator.load_state(str(folder.checkpoint))
        elif config.resume:
            accelerator.print("no checkpoint was written yet: starts again with the first epoch", flush=True)
        if config.tracker:
            tracked = {name: str(value) for name, value in asdict(config.recipe).items()}
            accelerator.init_trackers("madrnet-timm", config=tracked)
        done = len(self.history)
        if done:
            accelerator.print(f"goes on after epoch {done} of {self.epochs}", flush=True)
        return done

    def _load_finished(self) -> None:
        """Take the weights and the history of a finished run, which has no checkpoint any more."""
        folder = self.setup.folder
        if self.soup is not None:
            self.soup.finish()
        fill(self.trained_model, folder.model / "model.safetensors")
        rows = read_csv(folder.history)
        self.progress.history = [{name: float(value) for name, value in row.items()} for row in rows]

    def _save_checkpoint(self) -> None:
        path, accelerator = self.setup.folder.checkpoint, self.setup.accelerator
        with replacing_folder(path) if accelerator.is_main_process else nullcontext(beside_path(path)) as beside:
            accelerator.wait_for_everyone()
            accelerator.save_state(str(beside))
            accelerator.wait_for_everyone()


def _epoch_line(row: Mapping[str, float], epochs: int, held_out: bool) -> str:
    losses = " ".join(f"{k.removeprefix('loss_')} {v:.3f}" for k, v in row.items() if k.startswith("loss_"))
    figures = " ".join(f"{name} {row[name]:.3f}" for name in FIGURES)
    where = "held out" if held_out else "fit"
    return f"epoch {row['epoch']:>3}/{epochs}  loss {row['loss']:.3f} ({losses})  {where}: {figures}"
