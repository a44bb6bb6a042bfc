"""What a training is set up from: its data, its model, its loss and its optimizer."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, set_seed
from timm.data import resolve_data_config
from torch import nn
from torch.utils.data import DataLoader

from ..data.folds import fold_rows
from ..data.images import ImageDataset, View, start_worker
from ..data.normalization import normalized
from ..errors import InputError
from ..hub.cost import Cost, cost_of
from ..hub.description import DataConfig
from ..losses import HybridLoss
from .division import Division, divide
from .initial_weights import create_model
from .leakage import Experience, experience_before
from .opening import opening_lines
from .optimizer import create_optimizer
from .precision import depthwise_in_float32
from .run_checks import check
from .run_config import RunConfig
from .run_folder import RunFolder
from .samplers import PerClassSampler
from .teachers import Teachers, check_teachers
from .threads import cores

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["Images", "Setup", "set_up"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Images:
    """The prepared images of a training, and their batches.

    Attributes:
        train: The training images, with random changes.
        sampler: Order of the training images; None if they are shuffled.
        train_loader: Batches of training images.
        test_loader: Batches of the images that the model is measured on.
        mean: Mean of each channel, see `normalized`.
        std: Standard deviation of each channel.
    """

    train: ImageDataset
    sampler: PerClassSampler | None
    train_loader: Any
    test_loader: Any
    mean: Sequence[float]
    std: Sequence[float]

    def set_epoch(self, epoch: int) -> None:
        """Choose the order and the random changes of a pass."""
        self.train_loader.set_epoch(epoch)
        self.train.set_epoch(epoch)  # Accelerate passes it on in a single process only
        if self.sampler is not None:
            self.sampler.set_epoch(epoch)

    def network_input(self, images: torch.Tensor) -> torch.Tensor:
        """A batch ``(images, 3, size, size)`` uint8 as the network takes it."""
        return normalized(images, self.mean, self.std).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Setup:
    """Everything that the loop needs. Each process of a training has its own.

    Attributes:
        config: Config of the run.
        folder: Its run folder, which has been begun.
        division: Which images are trained on, and which are measured on.
        data_config: How the images are prepared.
        accelerator: Knows the device and the other processes.
        images: The prepared images.
        model: The model as Accelerate wraps it.
        criterion: The loss.
        hybrid: The loss as Accelerate wraps it, if it has weights to learn; else the loss itself.
        optimizer: Trains the model, and the loss if it has weights to learn.
        teachers: The teachers of a distillation, if there are any.
        before: What the initial weights and the teachers have seen.
        cost: Cost of the model, for one image.
    """

    config: RunConfig
    folder: RunFolder
    division: Division
    data_config: DataConfig
    accelerator: Accelerator
    images: Images
    model: Any
    criterion: HybridLoss
    hybrid: Any
    optimizer: Any
    teachers: Teachers | None
    before: Experience
    cost: Cost

    @property
    def bare_model(self) -> nn.Module:
        """The model without Accelerate's wrapping."""
        return self.accelerator.unwrap_model(self.model)


def set_up(config: RunConfig, folder: RunFolder, threads: str, division: Division | None = None) -> Setup:
    """Set up a training, begin its folder, and print what is trained.

    The order of the steps is part of the result, because each of them may draw random numbers.

    Args:
        config: Config of the run.
        folder: Its run folder; the main process locks it, and the caller releases it.
        threads: How many threads the processor uses, in words.
        division: Of the data, where it is another one than the config's.

    Raises:
        InputError: A user's mistake; nothing was written.
    """
    check(config)
    folder.check(config)
    accelerator = _create_accelerator(config)
    if division is None:
        with accelerator.main_process_first():
            division = divide(config)
    set_seed(config.seed)
    model = create_model(config, division.names)
    cost = cost_of(model, config.recipe.img_size)  # before the training, which a failure here must not lose
    if accelerator.device.type == "cpu" and config.mixed_precision != "no":
        depthwise_in_float32(model)
    data_config = _data_config(model, config)
    teachers = _create_teachers(config, division, data_config)
    if teachers is not None:
        teachers.to(accelerator.device)
    before, batch = experience_before(config), _batch_size(config, len(division.train_records))
    if accelerator.is_main_process:
        folder.begin(config, fold_rows(division.records, division.folds))
    accelerator.wait_for_everyone()
    for line in opening_lines(config, division, batch, threads):
        accelerator.print(line, flush=True)
    others = () if teachers is None else teachers.others
    on_gpu = accelerator.device.type == "cuda"
    images = _prepare_images(config, division, data_config, others, batch, on_gpu)
    criterion = _create_criterion(config, division, images.train.labels).to(accelerator.device)
    optimizer = create_optimizer(model, criterion, config.recipe)
    model, optimizer, train_loader, test_loader = accelerator.prepare(
        model, optimizer, images.train_loader, images.test_loader
    )
    hybrid: Any = criterion
    if config.recipe.loss_weights == "learned" and config.hybrid:  # prepared, so that the processes agree
        hybrid = accelerator.prepare(criterion)
    images = replace(images, train_loader=train_loader, test_loader=test_loader)
    return Setup(
        config,
        folder,
        division,
        data_config,
        accelerator,
        images,
        model,
        criterion,
        hybrid,
        optimizer,
        teachers,
        before,
        cost,
    )


def _create_accelerator(config: RunConfig) -> Accelerator:
    try:
        accelerator = Accelerator(
            mixed_precision=config.mixed_precision,
            log_with=config.tracker,
            project_dir=str(config.output),
            dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True, data_seed=config.seed),
        )
    except ValueError as error:
        raise InputError(f"Accelerate: {error}") from None
    if config.tracker and not accelerator.log_with:
        raise InputError(f"--tracker {config.tracker}: not installed; pip install {config.tracker}")
    return accelerator


def _batch_size(config: RunConfig, images: int) -> int:
    """That of the recipe, or less where there are fewer images; whole groups of a class."""
    recipe = config.recipe
    batch = min(recipe.batch_size, images)
    if recipe.samples_per_class:
        batch -= batch % recipe.samples_per_class
    if not batch:
        raise InputError(
            f"--samples-per-class {recipe.samples_per_class}: there are only {images} training images; choose fewer"
        )
    return batch


def _data_config(model: nn.Module, config: RunConfig) -> DataConfig:
    """Size, mean, std and crop of the images; mean and std are those of the backbone's weights, from its config."""
    size = config.recipe.img_size
    found: DataConfig = resolve_data_config({"input_size": (3, size, size)}, model=model)
    if config.recipe.pipeline != "raw":
        found["crop_pct"] = 1.0  # the aligned pipelines frame the head themselves
    return found


def _create_teachers(config: RunConfig, division: Division, data_config: DataConfig) -> Teachers | None:
    if not config.teachers:
        return None
    held_out = [] if config.fold is None else division.test_records["pixel_sha256"]
    size = data_config["input_size"]
    folders = check_teachers(config.teachers, division.names, size, config.dataset, held_out)
    return Teachers(folders, data_config, config.recipe.pipeline, config.recipe.views != "pipeline")


def _second_views(config: RunConfig, crop_pct: float) -> list[View]:
    """The view that is asked beside the pipeline's, if there is one."""
    second = config.recipe.second_view
    return [] if second is None else [(second, crop_pct)]


def _mixed_views(config: RunConfig, crop_pct: float) -> list[View]:
    """Views that are trained on beside the pipeline's."""
    if config.recipe.views != "mixed":
        return _second_views(config, crop_pct)
    return [(name, crop_pct) for name in ("aligned-normalized", "raw") if name != config.recipe.pipeline]


def _prepare_images(
    config: RunConfig,
    division: Division,
    data_config: DataConfig,
    others: Sequence[View],
    batch: int,
    on_gpu: bool,
) -> Images:
    recipe, crop_pct = config.recipe, data_config["crop_pct"]

    def prepared(
        records: "Dataset", augmentation: str, others: Sequence[View], mixed: Sequence[View] = ()
    ) -> ImageDataset:
        return ImageDataset(
            records, recipe.pipeline, recipe.img_size, crop_pct, augmentation, config.seed, others, mixed
        )

    train = prepared(division.train_records, recipe.augmentation, others, _mixed_views(config, crop_pct))
    sampler = None
    if recipe.samples_per_class:
        sampler = PerClassSampler(train.labels, batch, recipe.samples_per_class, config.seed)
    workers = config.workers
    if workers is None:
        workers = min(cores() // torch.cuda.device_count(), 8) if on_gpu else 0
    train_loader = DataLoader(
        train,
        batch,
        shuffle=sampler is None,
        sampler=sampler,
        drop_last=len(train) % batch == 1,
        num_workers=workers,
        worker_init_fn=start_worker,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # its own: the model's dropout draws the same with and without workers
    )
    test = prepared(division.test_records, "none", _second_views(config, crop_pct))
    test_loader = DataLoader(test, 2 * recipe.batch_size)
    return Images(train, sampler, train_loader, test_loader, data_config["mean"], data_config["std"])


def _create_criterion(config: RunConfig, division: Division, labels: Sequence[int]) -> HybridLoss:
    recipe = config.recipe
    normal = None if division.normal is None else division.names.index(division.normal)
    if config.hybrid and normal is None:
        _logger.warning(
            "no class is called Normal here: the aspect ratio constraint (HARC) is off; name the class of normal "
            "heads with --normal-class"
        )
    weights = _class_weights(config, labels, len(division.names))
    return HybridLoss(
        len(division.names),
        normal,
        recipe.alpha,
        recipe.beta,
        recipe.margin,
        recipe.harc,
        recipe.loss_weights if config.hybrid else "fixed",
        nn.CrossEntropyLoss(weights, label_smoothing=recipe.label_smoothing),
    )


def _class_weights(config: RunConfig, labels: Sequence[int], classes: int) -> torch.Tensor | None:
    """Weights that make every class count the same in sum, or None."""
    if config.recipe.class_weights == "none":
        return None
    counts = torch.bincount(torch.tensor(labels), minlength=classes).float()
    return len(labels) / (classes * counts.clamp(min=1))
