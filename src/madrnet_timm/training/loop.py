"""Training one fold: the loop, its checkpoints and what it writes."""

import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import repeat
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

from ..data.domain import domain_features, domain_ranges
from ..data.folds import LEFT_OUT, divided_groups, fold_rows
from ..data.manifest import data_sets_of
from ..data.pictures import PictureDataset, View, normalized, start_worker
from ..data.sampler import PartSampler, PerClassSampler
from ..data.sources import SOURCES, class_names, pictures
from ..errors import InputError
from ..evaluation.calibration import calibrate
from ..evaluation.controls import Controls
from ..evaluation.figures import confusion_matrix_figure, learning_curves_figure
from ..evaluation.metrics import ClassificationMetrics, probability_metrics
from ..files import beside_path, replacing, replacing_folder, settle_folder, write_csv, write_text
from ..hub import save_model_folder
from ..hub.card import model_card
from ..losses import Distillation, HybridLoss
from ..morphology import measure
from .evidence import Evidence, describe_folds
from .optimizer import create_optimizer, create_scheduler
from .options import RunOptions, check, check_fold
from .run_folder import RunFolder
from .seen import data_sets_before
from .start import check_unseen, create_model
from .teachers import Answers, Teachers, check_teachers, joined
from .unlabelled import Unlabelled

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["HOW_TO_TRAIN", "train", "train_on_all"]

_logger = logging.getLogger(__name__)

_CHECKPOINT_SECONDS = 60.0

HOW_TO_TRAIN = "Every option stands in `config.yaml` of the run; `examples/train.py --help` explains them."
"""In a model card."""


@dataclass
class _Progress:
    """Epochs done and their history; part of the checkpoint."""

    history: list[dict[str, float]] = field(default_factory=list)

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history = state["history"]


def _data_config(model: nn.Module, options: RunOptions) -> dict[str, Any]:
    """Size, mean, std and crop of the pictures; mean and std are those of the backbone's weights, from its config."""
    size = options.recipe.img_size
    config = resolve_data_config({"input_size": (3, size, size)}, model=model)
    if options.recipe.pipeline != "raw":
        config["crop_pct"] = 1.0  # the aligned pipelines frame the head themselves
    return config


class _Run:
    """One fold on the way from options to a model folder."""

    def __init__(self, options: RunOptions) -> None:
        check(options)
        self.options = options
        self.folder = RunFolder(options.output)
        self.folder.check(options.to_config(), options.resume)
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
        self.source = SOURCES[options.dataset]
        with self.accelerator.main_process_first():
            records, self.folds, self.conflicts = options.divided_records()
            self.unlabelled_records = options.unlabelled_records()
        if options.fold is not None:
            check_fold(options.fold, int(self.folds.max()) + 1)
        self.names = class_names(records)
        self.records = records
        self.held_out = self.folds == (LEFT_OUT if options.fold is None else options.fold)
        self.train_records = records.select(np.flatnonzero(~self.held_out))
        # without a fold everything is trained on, and what is printed on the way is the fit
        self.test_records = records if options.fold is None else records.select(np.flatnonzero(self.held_out))
        if options.fold is not None:
            check_unseen(options, self.test_records["pixel_sha256"])
        set_seed(options.seed)
        model = create_model(options, self.names)
        self.data_config = _data_config(model, options)
        self.teachers = self._create_teachers()
        self.learned_before = data_sets_before(options)
        if self.accelerator.is_main_process:
            columns = ("pixel_sha256", "file", "group", "session", "label")
            self.folder.begin(
                options.to_config(),
                fold_rows(records, self.folds, columns),
                None if self.unlabelled_records is None else self.unlabelled_records["pixel_sha256"],
            )
        self.accelerator.wait_for_everyone()
        self._prepare(model)

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

    def _prepare(self, model: nn.Module) -> None:
        recipe = self.options.recipe
        others = self.teachers.others if self.teachers is not None else ()
        self.pictures = self._pictures(self.train_records, recipe.augmentation, others, self._mixed_views())
        batch = min(recipe.batch_size, len(self.pictures))
        self.sampler = None
        if recipe.per_class:
            try:
                self.sampler = PerClassSampler(self.pictures.labels, batch, recipe.per_class, self.options.seed)
            except ValueError as error:
                raise InputError(f"--per-class {recipe.per_class} with --batch-size {batch}: {error}") from None
        loader = self._loader(
            self.pictures,
            batch,
            shuffle=self.sampler is None,
            sampler=self.sampler,
            drop_last=len(self.pictures) % batch == 1,
        )
        test_loader = DataLoader(self._pictures(self.test_records, "none"), 2 * recipe.batch_size)
        self.criterion = self._create_criterion().to(self.accelerator.device)
        optimizer = create_optimizer(model, self.criterion, recipe)
        self.model, self.optimizer, self.loader, self.test_loader = self.accelerator.prepare(
            model, optimizer, loader, test_loader
        )
        self.hybrid = self.criterion
        if recipe.loss_weights == "learned" and self.options.hybrid:  # prepared, so that the processes agree
            self.hybrid = self.accelerator.prepare(self.criterion)
        self.unlabelled = self._create_unlabelled()
        self.bare = self.accelerator.unwrap_model(self.model)
        self.scheduler = create_scheduler(self.optimizer.optimizer, recipe, recipe.epochs * len(self.loader))
        self.ema = ModelEmaV3(self.bare, recipe.ema_decay, use_warmup=True) if recipe.ema_decay else None
        self.progress = _Progress()
        self.accelerator.register_for_checkpointing(self.progress, self.scheduler)
        if self.ema is not None:
            self.accelerator.register_for_checkpointing(self.ema)

    def _loader(self, pictures: PictureDataset, batch: int, **order: Any) -> DataLoader:
        """Of training pictures."""
        workers = self.options.workers
        if workers is None:
            on_gpu = self.accelerator.device.type == "cuda"
            workers = min(_cores() // torch.cuda.device_count(), 8) if on_gpu else 0
        return DataLoader(
            pictures,
            batch,
            num_workers=workers,
            worker_init_fn=start_worker,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # its own: the model's dropout draws the same with and without workers
            **order,
        )

    def _create_teachers(self) -> Teachers | None:
        options = self.options
        if not options.teachers:
            return None
        self.distillation = Distillation(options.recipe.distill_temperature)
        held_out = self.test_records["pixel_sha256"]
        size = self.data_config["input_size"]
        folders = check_teachers(options.teachers, self.names, size, options.dataset, held_out)
        return Teachers(folders, self.data_config, options.recipe.pipeline).to(self.accelerator.device)

    def _create_unlabelled(self) -> Unlabelled | None:
        options, batch, teachers = self.options, self.options.recipe.unlabelled_batch, self.teachers
        if self.unlabelled_records is None or teachers is None:
            return None
        pictures = self._pictures(self.unlabelled_records, options.recipe.augmentation, teachers.others)
        batch = min(batch, len(pictures))
        count = len(self.loader) * batch * self.accelerator.num_processes
        sampler = PartSampler(len(pictures), count, options.seed)
        loader = self.accelerator.prepare(self._loader(pictures, batch, sampler=sampler))

        def ask(views: Sequence[torch.Tensor]) -> Answers:
            return teachers([self._input(view.to(self.accelerator.device)) for view in views])

        return Unlabelled(pictures, sampler, loader, ask)

    def _create_criterion(self) -> HybridLoss:
        recipe = self.options.recipe
        normal = self.names.index(self.source.normal) if self.source.normal in self.names else None
        if self.options.hybrid and normal is None:
            _logger.warning("no class is called %s here: the aspect ratio constraint (HARC) is off", self.source.normal)
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

    def _loss(
        self, batch: Mapping[str, torch.Tensor], more: tuple[torch.Tensor, Answers] | None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Of a batch, and of ``more`` pictures whose labels are their teachers' answers."""
        labelled = len(batch["image"])
        images = self._input(batch["image"] if more is None else torch.cat([batch["image"], more[0]]))
        output = self.model(images)
        if not self.options.hybrid:
            loss = self.criterion.cross_entropy(output, batch["label"])
            return loss, {"cross_entropy": loss}
        known = (value[:labelled] for value in output)
        total, parts = self.hybrid(*known, batch["label"], batch["aspect_ratio"].float())
        if self.teachers is not None:
            others = [self._input(view) for view in batch.get("others", ())]
            answers = self.teachers([images[:labelled], *others])
            if more is not None:
                answers = joined([answers, more[1]])
            recipe, followed = self.options.recipe, self.distillation(*output, *answers)
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
        unlabelled = repeat(None, len(self.loader)) if self.unlabelled is None else self.unlabelled.epoch(epoch)
        for batch, more in zip(self.loader, unlabelled, strict=True):
            total, parts = self._loss(batch, more)
            self.accelerator.backward(total)
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.options.recipe.clip_grad)
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
        probabilities = np.zeros((len(self.test_records), len(self.names)), dtype=np.float32)
        for batch in self.test_loader:
            logits = model(self._input(batch["image"])).float()
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
        if self.options.tracker:
            self.accelerator.init_trackers("madrnet-timm", config={k: str(v) for k, v in asdict(recipe).items()})
        done = len(self.progress.history)
        steps = len(self.loader)
        bar = tqdm(total=recipe.epochs * steps, initial=done * steps, unit="step", disable=not main)
        saved = time.monotonic()
        for epoch in range(done, recipe.epochs):
            bar.set_description(f"epoch {epoch + 1}/{recipe.epochs}")
            losses = self._train_epoch(epoch, bar)
            metrics, _ = self.evaluate()
            row = {"epoch": epoch + 1, **losses, **{k: metrics[k] for k in ("accuracy", "precision", "recall", "f1")}}
            if self.criterion.log_weights:
                row |= {f"weight_{name}": value for name, value in self.criterion.weights().items()}
            row |= {f"f1_{name}": figures["f1"] for name, figures in metrics["per_class"].items()}
            self.progress.history.append(row)
            if main:
                bar.write(_epoch_line(row, recipe.epochs, self.options.fold is not None))
                write_csv(self.folder.history, self.progress.history)
            self.accelerator.log({k: v for k, v in row.items() if k != "epoch"}, step=epoch + 1)
            due = time.monotonic() - saved > _CHECKPOINT_SECONDS or epoch + 1 == recipe.epochs
            if broadcast_object_list([due])[0]:  # by the first process's clock
                self._save_checkpoint()
                saved = time.monotonic()
        bar.close()
        return self.evaluate()

    def evidence(self, metrics: Mapping[str, Any], probabilities: np.ndarray) -> Evidence:
        """What the held-out fold says."""
        options = self.options
        divided = divided_groups(self.records["group"], self.folds.tolist())
        protocol = (
            f"Trained on {len(self.train_records)} pictures of {self.source.title}, measured on the "
            f"{len(self.test_records)} of fold {options.fold} of {int(self.folds.max()) + 1} (numbered from 0; "
            f"{describe_folds(options, divided)}). The held-out fold chose nothing of the training: the number of "
            f"epochs was fixed ({options.recipe.epochs}). Temperature and threshold of the calibration come from it."
            + (f" {len(self.conflicts)} pictures with conflicting labels were left out." if self.conflicts else "")
        )
        calibration = calibrate(probabilities, self.test_records["label"])
        right = sum(row[index] for index, row in enumerate(metrics["confusion_matrix"]))
        return Evidence(metrics, protocol, calibration, len(self.test_records), right)

    def finish(self, evidence: Evidence, probabilities: np.ndarray) -> None:
        """Write metrics, predictions, figures and the model folder."""
        folder, metrics = self.folder, evidence.metrics
        write_text(folder.metrics, json.dumps(metrics, indent=2) + "\n")
        write_csv(folder.predictions, self._prediction_rows(probabilities))
        with replacing(folder.learning_curves) as path:
            learning_curves_figure(self.progress.history, path)
        with replacing(folder.confusion_matrix) as path:
            confusion_matrix_figure(metrics["confusion_matrix"], self.names, path)
        self.save_model(evidence)

    def save_model(self, evidence: Evidence) -> None:
        """Write the model folder."""
        options, model = self.options, self.ema.module if self.ema is not None else self.bare
        before = [SOURCES[name].title if name in SOURCES else name for name in self.learned_before]
        they = "The teachers, or the weights" if options.teachers else "The weights"
        start = f"{they} that it began with had been trained on {', '.join(before)}. " if before else ""
        learned_before = set(self.learned_before)
        if self.unlabelled_records is not None:
            known, count = data_sets_of(self.unlabelled_records["pixel_sha256"]), len(self.unlabelled_records)
            of = f" of {' and '.join(SOURCES[name].title for name in known)}" if known else ""
            start += f"It followed its teachers on {count} pictures{of} without their labels, too. "
            learned_before.update(known)
        images = pictures(self.train_records)
        normal = self.source.normal if self.source.normal in self.names else None
        save_model_folder(
            model.eval(),
            self.folder.model,
            label_names=self.names,
            data_config=self.data_config,
            madrnet={
                "version": version("madrnet-timm"),
                "dataset": options.dataset,
                "learned_before": sorted(learned_before),
                "pipeline": options.recipe.pipeline,
                "normal_class": normal,
                "no_head_class": self.source.no_head if self.source.no_head in self.names else None,
                "domain": domain_ranges([domain_features(image, measure(image)) for image in images]),
                **evidence.to_dict(),
            },
            card=model_card(
                architecture=options.model,
                title=self.source.title,
                doi=self.source.doi,
                class_names=self.names,
                metrics=evidence.metrics,
                pictures=evidence.pictures,
                right=evidence.right,
                where=evidence.where,
                pipeline=options.recipe.pipeline,
                protocol=start + evidence.protocol,
                note=evidence.note,
                command=HOW_TO_TRAIN,
                license=options.license,
            ),
            license=options.license,
        )

    def _prediction_rows(self, probabilities: np.ndarray) -> list[dict[str, Any]]:
        columns = ("file", "pixel_sha256", "group", "label", "aspect_ratio")
        rows = zip(*(self.test_records[column] for column in columns), probabilities, strict=True)
        return [
            {
                "file": file,
                "pixel_sha256": pixels,
                "group": group,
                "label": self.names[label],
                "prediction": self.names[int(probability.argmax())],
                **{f"p_{name}": f"{p:.6f}" for name, p in zip(self.names, probability, strict=True)},
                "aspect_ratio": "" if ratio is None else f"{ratio:.4f}",
            }
            for file, pixels, group, label, ratio, probability in rows
        ]


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _epoch_line(row: Mapping[str, float], epochs: int, held_out: bool) -> str:
    losses = " ".join(f"{k.removeprefix('loss_')} {v:.3f}" for k, v in row.items() if k.startswith("loss_"))
    figures = " ".join(f"{k} {row[k]:.3f}" for k in ("accuracy", "precision", "recall", "f1"))
    where = "held out" if held_out else "fit"
    return f"epoch {row['epoch']:>3}/{epochs}  loss {row['loss']:.3f} ({losses})  {where}: {figures}"


def train(options: RunOptions) -> dict[str, Any]:
    """Train one fold and write its run folder.

    Returns:
        The metrics on the held-out fold, see `classification_metrics` and `probability_metrics`, and the ``controls``
        on the same.

    Raises:
        InputError: A user's mistake, found before training starts; or a disk that can't be written, later.
    """
    run = _Run(options)
    metrics, probabilities = run.fit()
    metrics |= probability_metrics(probabilities, run.test_records["label"])
    metrics["controls"] = Controls(run.records).accuracies(~run.held_out, run.held_out)
    if run.accelerator.is_main_process:
        run.finish(run.evidence(metrics, probabilities), probabilities)
    run.accelerator.wait_for_everyone()
    run.accelerator.end_training()
    return metrics


def train_on_all(options: RunOptions, evidence: Evidence) -> None:
    """Train on every picture, and write a model folder whose figures come from elsewhere, a cross-validation.

    Args:
        options: With ``fold=None``.
        evidence: What was measured with the same options on folds.

    Raises:
        InputError: See `train`.
    """
    run = _Run(options)
    run.fit()
    if run.accelerator.is_main_process:
        run.save_model(evidence)
    run.accelerator.wait_for_everyone()
    run.accelerator.end_training()
