"""Training one fold: the loop, its checkpoints and what it writes."""

import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, broadcast, broadcast_object_list, set_seed
from timm.data import resolve_data_config
from timm.utils import ModelEmaV3
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from ..data.folds import fold_rows
from ..data.pictures import PictureDataset, View, normalized, start_worker
from ..errors import InputError
from ..evaluation.controls import Controls
from ..evaluation.metrics import ClassificationMetrics, probability_metrics
from ..files import beside_path, replacing_folder, settle_folder, write_csv
from ..losses import Distillation, HybridLoss
from .division import divide
from .evidence import Evidence, evidence_of_fold
from .finite import check_finite, check_loss, check_weights
from .initial_weights import create_model
from .leakage import data_sets_before, models_before, seen_pixels
from .opening import opening_lines
from .optimizer import create_optimizer, create_scheduler
from .outcome import Outcome
from .run_checks import check
from .run_config import RunConfig
from .run_folder import RunFolder
from .samplers import PerClassSampler
from .teachers import Teachers, check_teachers
from .threads import cores, few_threads

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["train", "train_on_all"]

_logger = logging.getLogger(__name__)

_CHECKPOINT_SECONDS = 60.0


@dataclass
class _Progress:
    """Epochs done and their history; part of the checkpoint."""

    history: list[dict[str, float]] = field(default_factory=list)

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history = state["history"]


def _data_config(model: nn.Module, options: RunConfig) -> dict[str, Any]:
    """Size, mean, std and crop of the pictures; mean and std are those of the backbone's weights, from its config."""
    size = options.recipe.img_size
    config = resolve_data_config({"input_size": (3, size, size)}, model=model)
    if options.recipe.pipeline != "raw":
        config["crop_pct"] = 1.0  # the aligned pipelines frame the head themselves
    return config


class _Run:
    """One fold on the way from options to a model folder."""

    def __init__(self, options: RunConfig, folder: RunFolder, threads: str) -> None:
        check(options)
        self.options, self.folder = options, folder
        self.folder.check(options)
        try:
            self.accelerator = Accelerator(
                mixed_precision=options.mixed_precision,
                log_with=options.tracker,
                project_dir=str(options.output),
                dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True, data_seed=options.seed),
            )
        except ValueError as error:
            raise InputError(f"Accelerate: {error}") from None
        if options.tracker and not self.accelerator.log_with:
            raise InputError(f"--tracker {options.tracker}: not installed; pip install {options.tracker}")
        with self.accelerator.main_process_first():
            self.division = divide(options)
        self.names = self.division.names
        set_seed(options.seed)
        model = create_model(options, self.names)
        self.data_config = _data_config(model, options)
        self.teachers = self._create_teachers()
        self.data_sets_before = data_sets_before(options)
        self.seen_before = seen_pixels(models_before(options))
        if self.accelerator.is_main_process:
            columns = ("pixel_sha256", "file", "group", "session", "label")
            self.folder.begin(options, fold_rows(self.division.records, self.division.folds, columns))
        self.accelerator.wait_for_everyone()
        batch = min(options.recipe.batch_size, len(self.division.train_records))
        for line in opening_lines(options, self.division, batch, threads):
            self.accelerator.print(line, flush=True)
        self._prepare(model, batch)

    def _pictures(
        self, records: "Dataset", augmentation: str, others: Sequence[View] = (), mixed: Sequence[View] = ()
    ) -> PictureDataset:
        recipe, seed = self.options.recipe, self.options.seed
        crop_pct = self.data_config["crop_pct"]
        return PictureDataset(records, recipe.pipeline, recipe.img_size, crop_pct, augmentation, seed, others, mixed)

    def _mixed_views(self) -> list[View]:
        """Views that are trained on beside the pipeline's."""
        recipe = self.options.recipe
        names = ("aligned-normalized", "raw") if recipe.views == "mixed" else ()
        return [(name, self.data_config["crop_pct"]) for name in names if name != recipe.pipeline]

    def _input(self, images: torch.Tensor) -> torch.Tensor:
        images = normalized(images, self.data_config["mean"], self.data_config["std"])
        return images.contiguous(memory_format=torch.channels_last)

    def _prepare(self, model: nn.Module, batch: int) -> None:
        recipe = self.options.recipe
        others = self.teachers.others if self.teachers is not None else ()
        self.pictures = self._pictures(self.division.train_records, recipe.augmentation, others, self._mixed_views())
        self.sampler = None
        if recipe.per_class:
            try:
                self.sampler = PerClassSampler(self.pictures.labels, batch, recipe.per_class, self.options.seed)
            except ValueError as error:
                raise InputError(f"--per-class {recipe.per_class} with --batch-size {batch}: {error}") from None
        loader = self._loader(batch)
        test_loader = DataLoader(self._pictures(self.division.test_records, "none"), 2 * recipe.batch_size)
        self.criterion = self._create_criterion().to(self.accelerator.device)
        optimizer = create_optimizer(model, self.criterion, recipe)
        self.model, self.optimizer, self.loader, self.test_loader = self.accelerator.prepare(
            model, optimizer, loader, test_loader
        )
        self.hybrid = self.criterion
        if recipe.loss_weights == "learned" and self.options.hybrid:  # prepared, so that the processes agree
            self.hybrid = self.accelerator.prepare(self.criterion)
        self.bare = self.accelerator.unwrap_model(self.model)
        self.scheduler = create_scheduler(self.optimizer.optimizer, recipe, recipe.epochs * len(self.loader))
        self.ema = ModelEmaV3(self.bare, recipe.ema_decay, use_warmup=True) if recipe.ema_decay else None
        self.progress = _Progress()
        self.accelerator.register_for_checkpointing(self.progress, self.scheduler)
        if self.ema is not None:
            self.accelerator.register_for_checkpointing(self.ema)

    def _loader(self, batch: int) -> DataLoader:
        """Of training pictures."""
        workers = self.options.workers
        if workers is None:
            on_gpu = self.accelerator.device.type == "cuda"
            workers = min(cores() // torch.cuda.device_count(), 8) if on_gpu else 0
        return DataLoader(
            self.pictures,
            batch,
            shuffle=self.sampler is None,
            sampler=self.sampler,
            drop_last=len(self.pictures) % batch == 1,
            num_workers=workers,
            worker_init_fn=start_worker,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # its own: the model's dropout draws the same with and without workers
        )

    def _create_teachers(self) -> Teachers | None:
        options = self.options
        if not options.teachers:
            return None
        self.distillation = Distillation(options.recipe.distill_temperature)
        held_out = self.division.test_records["pixel_sha256"]
        size = self.data_config["input_size"]
        folders = check_teachers(options.teachers, self.names, size, options.dataset, held_out)
        return Teachers(folders, self.data_config, options.recipe.pipeline).to(self.accelerator.device)

    def _create_criterion(self) -> HybridLoss:
        recipe = self.options.recipe
        normal = None if self.division.normal is None else self.names.index(self.division.normal)
        if self.options.hybrid and normal is None:
            _logger.warning(
                "no class is called Normal here: the aspect ratio constraint (HARC) is off; name the class of normal "
                "heads with --normal-class"
            )
        return HybridLoss(
            len(self.names),
            normal,
            recipe.alpha,
            recipe.beta,
            recipe.margin,
            recipe.harc,
            recipe.loss_weights if self.options.hybrid else "fixed",
            nn.CrossEntropyLoss(self._class_weights(), label_smoothing=recipe.label_smoothing),
        )

    def _class_weights(self) -> torch.Tensor | None:
        """Weights that make every class count the same in sum, or None."""
        if self.options.recipe.class_weights == "none":
            return None
        counts = torch.bincount(torch.tensor(self.pictures.labels), minlength=len(self.names)).float()
        return len(self.pictures) / (len(self.names) * counts.clamp(min=1))

    def _loss(self, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        images = self._input(batch["image"])
        output = self.model(images)
        if not self.options.hybrid:
            loss = self.criterion.cross_entropy(output, batch["label"])
            return loss, {"cross_entropy": loss}
        total, parts = self.hybrid(*output, batch["label"], batch["aspect_ratio"].float())
        if self.teachers is not None:
            others = [self._input(view) for view in batch.get("others", ())]
            recipe, followed = self.options.recipe, self.distillation(*output, *self.teachers([images, *others]))
            total = total + recipe.distill_probabilities * followed["probabilities"]
            total = total + recipe.distill_embedding * followed["embedding"]
            parts = parts | {f"distill_{name}": value for name, value in followed.items()}
        return total, parts

    def _train_epoch(self, epoch: int, bar: tqdm) -> dict[str, float]:
        self.model.train()
        self.loader.set_epoch(epoch)
        self.pictures.set_epoch(epoch)  # Accelerate passes it on in a single process only
        if self.sampler is not None:
            self.sampler.set_epoch(epoch)
        sums: dict[str, torch.Tensor] = {}
        for step, batch in enumerate(self.loader):
            total, parts = self._loss(batch)
            self.accelerator.backward(total)
            norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.options.recipe.clip_grad)
            # fp16 leaves out steps with infinite gradients
            check_loss(total, None if self.accelerator.scaler else norm, epoch, step, self.options.recipe)
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.scheduler.step()
            if self.ema is not None:
                self.ema.update(self.bare, step=self.scheduler.last_epoch)
            for name, value in ({"loss": total} | {f"loss_{k}": v for k, v in parts.items()}).items():
                sums[name] = sums.get(name, torch.zeros((), device=value.device)) + value.detach()
            bar.update()
        means = {name: self.accelerator.reduce(value, "mean") / len(self.loader) for name, value in sums.items()}
        return {name: float(value) for name, value in means.items()}

    @torch.no_grad()
    def evaluate(self) -> tuple[dict[str, Any], np.ndarray]:
        """Metrics on the held-out fold, and the probabilities of its pictures in the order of the records."""
        model = self.model
        if self.ema is not None:  # each process averages batch statistics of its own: those of the first are saved
            model = self.ema.module
            broadcast(list(model.buffers()))
        model.eval()
        metric = ClassificationMetrics(self.names, keep_in_memory=True)
        probabilities = np.zeros((len(self.division.test_records), len(self.names)), dtype=np.float32)
        for batch in self.test_loader:
            logits = model(self._input(batch["image"])).float()
            check_finite(logits, "the output for an image", len(self.progress.history), self.options.recipe)
            gathered = self.accelerator.gather_for_metrics((logits.softmax(dim=1), batch["label"], batch["index"]))
            probability, label, index = (value.cpu().numpy() for value in gathered)
            probabilities[index] = probability
            metric.add_batch(predictions=probability.argmax(axis=1), references=label)
        return metric.compute(), probabilities

    def _save_checkpoint(self) -> None:
        path, main = self.folder.checkpoint, self.accelerator.is_main_process
        with replacing_folder(path) if main else nullcontext(beside_path(path)) as beside:
            self.accelerator.wait_for_everyone()
            self.accelerator.save_state(str(beside))
            self.accelerator.wait_for_everyone()

    def fit(self) -> tuple[dict[str, Any], np.ndarray]:
        """Train to the last epoch; the held-out fold chooses nothing."""
        recipe, main = self.options.recipe, self.accelerator.is_main_process
        if main:
            settle_folder(self.folder.checkpoint)
        self.accelerator.wait_for_everyone()
        if self.options.resume and self.folder.checkpoint.exists():
            self.accelerator.load_state(str(self.folder.checkpoint))
        elif self.options.resume:
            self.accelerator.print("no checkpoint was written yet: starts again with the first epoch", flush=True)
        if self.options.tracker:
            self.accelerator.init_trackers("madrnet-timm", config={k: str(v) for k, v in asdict(recipe).items()})
        done = len(self.progress.history)
        if done:
            self.accelerator.print(f"goes on behind epoch {done} of {recipe.epochs}", flush=True)
        steps = len(self.loader)
        bar = tqdm(total=recipe.epochs * steps, initial=done * steps, unit="step", disable=None if main else True)
        saved = time.monotonic()
        for epoch in range(done, recipe.epochs):
            bar.set_description(f"epoch {epoch + 1}/{recipe.epochs}")
            losses = self._train_epoch(epoch, bar)
            for model in (self.bare, *([] if self.ema is None else [self.ema.module])):
                check_weights(model, epoch, recipe)
            metrics, _ = self.evaluate()
            row = {"epoch": epoch + 1, **losses, **{k: metrics[k] for k in ("accuracy", "precision", "recall", "f1")}}
            if self.criterion.log_weights:
                row |= {f"weight_{name}": value for name, value in self.criterion.weights().items()}
            row |= {f"f1_{name}": figures["f1"] for name, figures in metrics["per_class"].items()}
            self.progress.history.append(row)
            if main:
                bar.write(_epoch_line(row, recipe.epochs, self.options.fold is not None))
                sys.stdout.flush()
                write_csv(self.folder.history, self.progress.history)
            self.accelerator.log({k: v for k, v in row.items() if k != "epoch"}, step=epoch + 1)
            due = time.monotonic() - saved > _CHECKPOINT_SECONDS or epoch + 1 == recipe.epochs
            if broadcast_object_list([due])[0]:  # by the first process's clock
                self._save_checkpoint()
                saved = time.monotonic()
        bar.close()
        return self.evaluate()

    def outcome(self) -> Outcome:
        """What was trained, to be written."""
        model = self.ema.module if self.ema is not None else self.bare
        before = self.data_sets_before, self.seen_before
        return Outcome(self.options, self.folder, self.division, model.eval(), self.data_config, *before)


def _epoch_line(row: Mapping[str, float], epochs: int, held_out: bool) -> str:
    losses = " ".join(f"{k.removeprefix('loss_')} {v:.3f}" for k, v in row.items() if k.startswith("loss_"))
    figures = " ".join(f"{k} {row[k]:.3f}" for k in ("accuracy", "precision", "recall", "f1"))
    where = "held out" if held_out else "fit"
    return f"epoch {row['epoch']:>3}/{epochs}  loss {row['loss']:.3f} ({losses})  {where}: {figures}"


def train(options: RunConfig) -> dict[str, Any]:
    """Train one fold and write its run folder.

    Returns:
        The metrics on the held-out fold, see `classification_metrics` and `probability_metrics`, and the ``controls``
        on the same.

    Raises:
        InputError: A user's mistake, found before training starts; or a disk that can't be written, later.
    """
    with _running(options) as run:
        metrics, probabilities = run.fit()
        division = run.division
        metrics |= probability_metrics(probabilities, division.test_records["label"])
        metrics["controls"] = Controls(division.records).accuracies(division.trained, division.tested)
        if run.accelerator.is_main_process:
            evidence = evidence_of_fold(options, division, metrics, probabilities)
            run.outcome().write(run.progress.history, evidence, probabilities)
        run.accelerator.wait_for_everyone()
        run.accelerator.end_training()
    return metrics


def train_on_all(options: RunConfig, evidence: Evidence) -> None:
    """Train on every picture, and write a model folder whose figures come from elsewhere, a cross-validation.

    Args:
        options: With ``fold=None``.
        evidence: What was measured with the same options on folds.

    Raises:
        InputError: See `train`.
    """
    with _running(options) as run:
        run.fit()
        if run.accelerator.is_main_process:
            run.outcome().save_model(evidence)
        run.accelerator.wait_for_everyone()
        run.accelerator.end_training()


@contextmanager
def _running(options: RunConfig) -> Iterator[_Run]:
    """A run that has its folder for itself."""
    folder = RunFolder(options.output)
    with few_threads(options.recipe.img_size) as threads:
        try:
            yield _Run(options, folder, threads)
        finally:
            folder.release()
