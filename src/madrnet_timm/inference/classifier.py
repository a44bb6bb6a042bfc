"""Classify images of heads with a trained model, prepared as they were in training."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.crops import cut_head
from ..data.domain import domain_features
from ..data.kinds import head_of_crop
from ..data.pages import read_single
from ..data.reading import ImageLike
from ..data.scale import searched_field
from ..errors import InputError
from ..evaluation.calibration import softmax, tempered
from ..evaluation.domain import outside_ranges
from ..hub.crop_scale import crop_side
from ..hub.lookup import find_model
from ..hub.model_folder import ModelFolder
from ..morphology import HeadMorphology
from .backends import BACKENDS, create_backend
from .decision import decision_rule
from .transform import transforms_of

__all__ = ["Classifier", "FieldPrediction", "Prediction", "Prepared"]


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image.

    Attributes:
        label: Name of the most probable class.
        probabilities: Probability of each class by name, calibrated where the model comes with a calibration.
        entropy: Of the probabilities, in nats: 0 where the model is sure, log(classes) where it knows nothing.
        abstain: The probability lies below the model's threshold, or no head was found (flag ``no_head``): better look
            yourself.
        prediction_set: The classes among which the right one is with the coverage that the model promises, the most
            probable first; empty where the model promises none, or no head was found.
        out_of_domain: In what the image is unlike the training images (stain, size), see `domain_features`.
        head: The measurement.
    """

    label: str
    probabilities: dict[str, float]
    entropy: float
    abstain: bool
    prediction_set: tuple[str, ...]
    out_of_domain: tuple[str, ...]
    head: HeadMorphology = field(repr=False)


@dataclass(frozen=True)
class FieldPrediction(Sequence[Prediction]):
    """What a model says of the heads of a field: a sequence of predictions in reading order.

    Attributes:
        predictions: One for each head; each `Prediction.head` is in the field's pixels, with its ``box``.
        head_length: Median length of the heads in pixels, None without one.
        crop_side: Side in pixels of the squares around the heads that the network was shown, None without a head.
        um_per_px: Micrometres per pixel, None if unknown.
        um_source: Where they come from: the caller, or what the image's file says; or why that is not believed.
        reason: Why nothing was found; empty where something was.
    """

    predictions: tuple[Prediction, ...]
    head_length: float | None = None
    crop_side: int | None = None
    um_per_px: float | None = None
    um_source: str = ""
    reason: str = ""

    @property
    def counted(self) -> list[Prediction]:
        """Those that the border does not cut."""
        return [one for one in self.predictions if not one.head.touches_border]

    def __len__(self) -> int:
        return len(self.predictions)

    @overload
    def __getitem__(self, index: int) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Prediction, ...]: ...
    def __getitem__(self, index: int | slice) -> Prediction | tuple[Prediction, ...]:
        return self.predictions[index]


@dataclass(frozen=True)
class Prepared:
    """An image on its way into the network.

    Attributes:
        head: Its measurement.
        view: Its pixels as the network sees them, ``(size, size, 3)`` RGB.
        out_of_domain: See `Prediction`.
        second: Another view, where the model takes the mean of two.
    """

    head: HeadMorphology
    view: NDArray[np.uint8]
    out_of_domain: tuple[str, ...]
    second: NDArray[np.uint8] | None = None

    @property
    def mirrored(self) -> "Prepared":
        """The same head in a mirror."""
        second = None if self.second is None else self.second[:, ::-1]
        return replace(self, view=self.view[:, ::-1], second=second)


class Classifier:
    """A model, ready to classify.

    Args:
        model: Path of a model folder, ``madrnet_<architecture>.<tag>``, or ``hf-hub:owner/name[@revision]``.
        device: Where to compute, with the backend ``torch``.
        backend: ``"torch"``, or ``"onnx"`` for ONNX Runtime on the CPU, which is faster there.
        threshold: Lowest probability of the chosen class at which the model decides; below it abstains. The model's
            own if None. It promises nothing.
        risk: Share of wrong ones, at most, among the heads that the model decides on: the threshold is the lowest that
            promises it. The model's own if None, see `Guarantee.risk`.

    Attributes:
        threshold: In force; None without one.
        promised_risk: What the threshold promises; None without a guarantee.

    Raises:
        InputError: No such model, not a model folder of this package, or a backend that is not installed; threshold
            and risk at once, or a risk that the model can't promise.
    """

    def __init__(
        self,
        model: str | Path,
        device: str | torch.device = "cpu",
        backend: str = "torch",
        threshold: float | None = None,
        risk: float | None = None,
    ) -> None:
        if backend not in BACKENDS:
            raise InputError(f"backend {backend!r}: expected one of {', '.join(BACKENDS)}")
        self.folder = ModelFolder(find_model(model))
        self.pipeline = self.folder.pipeline
        self.label_names = self.folder.label_names
        self.calibration = self.folder.calibration
        self.guarantee = self.folder.info.guarantee
        self.threshold, self.promised_risk = decision_rule(self.folder.info, threshold, risk)
        self.transform, *self.second_transforms = transforms_of(self.folder)
        self.backend = create_backend(backend, self.folder, device)

    @cached_property
    def model(self) -> torch.nn.Module:
        """The model in PyTorch on the CPU, in eval mode, whatever the backend is."""
        return self.folder.load()

    def prepare(
        self,
        image: NDArray[np.uint8],
        um_per_px: float | None = None,
        head: HeadMorphology | None = None,
        name: str = "image",
    ) -> Prepared:
        """Measure the crop of a head, and bring it into the form that the network was trained on.

        Args:
            image: ``(h, w, 3)`` RGB uint8.
            um_per_px: Micrometres per pixel, if known.
            head: What was measured on it, if that is known already; then it is taken for a crop without a look.
            name: For messages.

        Raises:
            InputError: It is, or is too large for anything but, a field of view.
        """
        if head is None:
            head = head_of_crop(image, um_per_px, name)
        outside = outside_ranges(domain_features(image, head), self.folder.domain)
        second = [transform.view(image, head) for transform in self.second_transforms]
        return Prepared(head, self.transform.view(image, head), tuple(outside), *second)

    def normalized(self, views: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Prepared images as the network takes them, ``(images, 3, size, size)`` float32."""
        return self.transform.normalized(views)

    def tensors(self, images: Sequence[ImageLike]) -> torch.Tensor:
        """Images as the network sees them, ``(images, 3, size, size)`` float32, normalised.

        Raises:
            InputError: See `prepare` and `read_single`.
        """
        return torch.from_numpy(self.normalized([self.prepare(read_single(image, crop=True)).view for image in images]))

    def probabilities(self, views: Sequence[NDArray[np.uint8]], batch_size: int = 32) -> NDArray[np.float64]:
        """The network's own probabilities ``(images, classes)`` for single views, not calibrated."""
        batches = (views[start : start + batch_size] for start in range(0, len(views), batch_size))
        return softmax(np.concatenate([self.backend(self.normalized(batch)) for batch in batches]))

    def answers(self, prepared: Sequence[Prepared], batch_size: int = 32) -> NDArray[np.float64]:
        """The probabilities ``(images, classes)`` of prepared images, not calibrated: the mean over their views."""
        rows = self.probabilities([item.view for item in prepared], batch_size)
        seconds = [item.second for item in prepared if item.second is not None]
        return (rows + self.probabilities(seconds, batch_size)) / 2 if seconds else rows

    def predict(self, prepared: Sequence[Prepared]) -> list[Prediction]:
        """Classify prepared images in one batch."""
        rows = self.answers(prepared, len(prepared))
        if self.calibration is not None:
            rows = tempered(rows, self.calibration.temperature)
        sets = np.zeros(rows.shape, bool) if self.guarantee is None else self.guarantee.sets.members(rows)
        return [self._prediction(*one) for one in zip(rows, sets, prepared, strict=True)]

    def _prediction(self, row: NDArray[np.float64], members: NDArray[np.bool_], item: Prepared) -> Prediction:
        """From calibrated probabilities, and which classes are in the set."""
        best, no_head = int(row.argmax()), "no_head" in item.head.flags
        return Prediction(
            label=self.label_names[best],
            probabilities=dict(zip(self.label_names, row.tolist(), strict=True)),
            entropy=float(-(row * np.log(np.clip(row, 1e-12, None))).sum()),
            abstain=bool(row[best] < (self.threshold or 0.0)) or no_head,
            prediction_set=() if no_head else tuple(self.label_names[k] for k in np.argsort(-row) if members[k]),
            out_of_domain=item.out_of_domain,
            head=item.head,
        )

    def field(self, image: ImageLike, um_per_px: float | None = None, batch_size: int = 32) -> FieldPrediction:
        """Find the heads of a field of view, and classify each.

        Around each head the network is shown a square in which heads are as large as in the model's training images, as
        `madrnet predict` does with a slide of this one field.

        Args:
            image: A path, a file's bytes, a Pillow image or an array, at least 300 pixels a side; see `read_image`.
            um_per_px: Micrometres per pixel; if None, what a path's file says, where that is plausible.
            batch_size: Heads per batch.

        Returns:
            Heads at the border, too; `FieldPrediction.counted` leaves them out. Where nothing is found, none, and the
            reason.

        Raises:
            InputError: An image that can't be read, or is smaller; or a file of several pages.
        """
        searched = searched_field(image, um_per_px)
        found, known = searched.found, (searched.um_per_px, searched.um_source)
        if searched.crop_length is None:
            return FieldPrediction((), None, None, *known, found.reason)
        side = crop_side(searched.crop_length, self.folder.info)
        crops = [cut_head(searched.image, head, side) for head in found.heads]
        prepared = [self.prepare(crop.image, searched.um_per_px, crop.head) for crop in crops]
        batches = [prepared[start : start + batch_size] for start in range(0, len(prepared), batch_size)]
        predicted = [prediction for batch in batches for prediction in self.predict(batch)]
        whole = [replace(one, head=head) for one, head in zip(predicted, found.heads, strict=True)]
        return FieldPrediction(tuple(whole), found.head_length, side, *known)

    def __call__(
        self, images: Iterable[ImageLike], batch_size: int = 32, um_per_px: float | None = None
    ) -> list[Prediction]:
        """Classify crops of heads in any form: paths, files' bytes, Pillow images or arrays, see `read_image`.

        Raises:
            InputError: An image that can't be read, or is a field of view: see `field`; or a path of several pages.
        """
        if isinstance(images, str | Path):
            raise InputError(f"{images}: expected a list of images; write [{str(images)!r}]")
        prepared = [self.prepare(read_single(image, crop=True), um_per_px) for image in images]
        batches = (prepared[start : start + batch_size] for start in range(0, len(prepared), batch_size))
        return [prediction for batch in batches for prediction in self.predict(batch)]
