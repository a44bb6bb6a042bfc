"""Model cards: front matter for the Hub, and what a reader has to know before using a model."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.sources import SOURCES
from ..errors import InputError
from ..evaluation.controls import better_control
from ..evaluation.guarantee import Guarantee
from ..evaluation.intervals import wilson_interval
from .cost import Cost
from .description import Description
from .model_info import ModelInfo

__all__ = ["ANYWHERE", "Card", "check_license"]

ANYWHERE = "path/to/this/folder"
"""Stands in a card for the name of a model that has none yet."""

_METRICS = {"accuracy": "Accuracy", "precision": "Precision (macro)", "recall": "Recall (macro)", "f1": "F1 (macro)"}
_MORE = {"auc": "AUC (macro, one against the rest)", "calibration_error": "Expected calibration error, as trained"}
_TAGS = ["image-classification", "timm", "madrnet", "sperm-morphology", "microscopy"]
_PAPER = "Morphology-Aware Dual-path Reversible Network for Sperm Classification"
_TEMPLATE, _RESULTS, _GUARANTEE = (
    Path(__file__).with_name(name) for name in ("card.md", "card_results.md", "card_guarantee.md")
)
_ONE_VIEW = (
    "\nThese are the logits of one view of the image. The figures below are of the mean over both views, which "
    "`Classifier` gives.\n"
)
_NOTHING_MEASURED = "None of its own: no image was held out in its training. Measure it on images that it has not seen."


def _cell(name: str) -> str:
    """A class's name in a table of Markdown."""
    return name.replace("|", "\\|").replace("<", "&lt;")


@dataclass(frozen=True)
class Card:
    """All that a model card says.

    Attributes:
        description: Of the model; without a licence the card names none.
        cost: Of one image.
        command: How to train it again, as Markdown.
        place: How to load it: a published name, or `ANYWHERE`.
        note: How to read the figures.
        where: What the controls were measured on.
        speed: Time for one image, as Markdown; empty where it was not measured.
        figure: Name of the image of the confusion matrix beside the card, where there is one.
    """

    description: Description
    cost: Cost
    command: str
    place: str = ANYWHERE
    note: str = ""
    where: str = ""
    speed: str = ""
    figure: str | None = None

    def text(self) -> str:
        """README.md with the front matter that the Hub reads."""
        return f"---\n{self._front_matter()}\n---\n\n{self._body()}"

    @property
    def _info(self) -> ModelInfo:
        return self.description.info

    @property
    def _labels(self) -> Sequence[str]:
        return self.description.label_names

    @property
    def _dataset(self) -> str:
        """Title of the data set."""
        return SOURCES[self._info.dataset].title if self._info.dataset in SOURCES else self._info.dataset

    def _front_matter(self) -> str:
        from huggingface_hub import EvalResult, ModelCardData

        matrix = self._info.confusion_matrix
        figures = _figures(matrix) if matrix else {}
        results = [
            EvalResult(
                task_type="image-classification",
                task_name="Image classification",
                dataset_type=self._dataset.lower().replace(" ", "-"),
                dataset_name=self._dataset,
                metric_type=key,
                metric_name=name,
                metric_value=round(figures[key], 4),
            )
            for key, name in _METRICS.items()
            if key in figures
        ]
        data = ModelCardData(
            base_model=self._info.base_model,
            library_name="timm",
            license=self.description.license,
            metrics=list(figures) or None,
            model_name=self.description.name,
            pipeline_tag="image-classification",
            tags=_TAGS,
            eval_results=results or None,
        )
        return data.to_yaml()

    def _body(self) -> str:
        expect = (
            "The figures below come from one collection of images. Expect less in another laboratory, and measure it "
            "there."
        )
        measured = self._info.confusion_matrix is not None
        return _TEMPLATE.read_text(encoding="utf-8").format(
            name=self.description.name,
            dataset=self._dataset,
            what=self._what(),
            classes=", ".join(self._labels),
            labels=list(self._labels),
            place=self.place if self.place != ANYWHERE else f"local-dir:{ANYWHERE}",
            folder=self.place,
            facts=self._facts(),
            datasets="\n".join(self._dataset_rows()),
            protocol=self._learned_before() + (self._info.protocol or ""),
            expect=expect if measured else "Nobody has measured how often it is right.",
            results=self._results() if measured else _NOTHING_MEASURED,
            doubt=self._doubt(),
            guarantee=self._guarantee(),
            command=self.command,
            one_view=_ONE_VIEW if self._info.second_view is not None else "",
            probabilities="calibrated probabilities" if self._info.calibration else "probabilities",
        )

    def _results(self) -> str:
        info, matrix = self._info, self._info.confusion_matrix or ()
        figures, images = _figures(matrix), info.held_out or 0
        right = figures["accuracy"] * images
        low, high = wilson_interval(right, images)
        known: dict[str, float | None] = {**figures, "auc": info.auc, "calibration_error": info.calibration_error}
        text = _RESULTS.read_text(encoding="utf-8").format(
            interval=f"{right:.4g} of {images} right: {100 * right / images:.1f} %, 95 % Wilson interval "
            f"{100 * low:.1f} to {100 * high:.1f} %.",
            images=images,
            note=self.note,
            metrics="\n".join(
                f"| {name} | {known[key]:.4f} |" for key, name in (_METRICS | _MORE).items() if known[key] is not None
            ),
            per_class="\n".join(
                f"| {_cell(name)} | {p:.3f} | {r:.3f} | {f:.3f} | {n} |"
                for name, p, r, f, n in zip(self._labels, *_by_class(matrix), strict=True)
            ),
            where=self.where,
            controls=", ".join(f"{name} {100 * value:.1f} %" for name, value in info.controls.items()),
            hint=f" **{hint}.**" if (hint := better_control(figures["accuracy"], info.controls)) else "",
            matrix=self._matrix(),
        )
        return text.rstrip()

    def _what(self) -> str:
        architecture = self.description.architecture
        if architecture.startswith("madrnet_"):
            return f'MADRNet (Yang et al., "{_PAPER}") around timm\'s {architecture.removeprefix("madrnet_")}.'
        return f"Plain timm {architecture}, trained as a baseline for MADRNet."

    def _facts(self) -> str:
        side, second = self.description.img_size, ""
        if self._info.second_view is not None:
            second = (
                f", and by `{self._info.second_view}`: a prediction is the mean of the two, at twice the cost below"
            )
        rows = {
            "input": f"RGB, {side} × {side} pixels, prepared by the pipeline `{self._info.pipeline}`{second}",
            "parameters": f"{self.cost.parameters / 1e6:.2f} million",
            "multiplications (GMACs)": f"{self.cost.gmacs:.2f}",
            "activations": f"{self.cost.macts:.2f} million",
            "base model": f"`{self._info.base_model}`" if self._info.base_model else "none named",
        }
        return "\n".join(f"| {key} | {value} |" for key, value in rows.items()) + (self.speed and f"\n{self.speed}")

    def _dataset_rows(self) -> list[str]:
        rows, before, trained = [], "learned before: initial weights or teachers", self._info.dataset
        roles = {trained: "trained and measured" if self._info.confusion_matrix else "trained"}
        for key in self._info.learned_before:
            roles[key] = f"{roles[key]}; {before}, too" if key == trained else before
        for key, role in roles.items():
            source = SOURCES.get(key)
            if source is not None and source.doi:
                page = f"https://doi.org/{source.doi}"
                rows.append(f"| {source.title} | {role} | [{source.doi}]({page}) | as [its page]({page}) says |")
            else:
                rows.append(f"| {source.title if source else key} | {role} | not public | its owner's |")
        return rows

    def _learned_before(self) -> str:
        titles = [SOURCES[key].title if key in SOURCES else key for key in self._info.learned_before]
        return f"Its initial weights or its teachers had learned from {', '.join(titles)}. " if titles else ""

    def _matrix(self) -> str:
        rows = [
            "| reference | " + " | ".join(map(_cell, self._labels)) + " |",
            "|---" * (len(self._labels) + 1) + "|",
            *(
                f"| {_cell(name)} | " + " | ".join(map(str, row)) + " |"
                for name, row in zip(self._labels, self._info.confusion_matrix or (), strict=True)
            ),
        ]
        image = [f"![confusion matrix]({self.figure})", ""] if self.figure else []
        return "\n".join([*image, *rows])

    def _doubt(self) -> str:
        promise, threshold = self._info.guarantee, self._info.threshold
        if threshold is None:
            return ""
        abstains = f"Below a calibrated probability of {threshold:.2f} it abstains"
        if promise is None:
            return f"{abstains}; this threshold promises nothing."
        return f"{abstains}: of the heads that it decides on at most {_percent(promise.risk)} are wrong, see below."

    def _guarantee(self) -> str:
        """A section of its own."""
        promise = self._info.guarantee
        if promise is None:
            return ""
        own = [name for name, own in zip(self._labels, promise.sets.own, strict=True) if own]
        text = _GUARANTEE.read_text(encoding="utf-8").format(
            level=_percent(promise.level),
            cells=promise.cells,
            risk=_percent(promise.risk),
            threshold=f"{promise.chosen.threshold:.3f}",
            few=self._too_few(promise),
            candidates="\n".join(
                f"  | {one.threshold:.3f} | {100 * one.decided / promise.cells:.0f} % | {one.wrong} of {one.decided} "
                f"| {100 * one.bound:.1f} % |"
                for one in promise.candidates
            ),
            coverage=_percent(promise.sets.coverage),
            own=f", also among the heads of one class alone ({', '.join(own)})" if own else "",
        )
        return f"\n{text}"

    @staticmethod
    def _too_few(promise: Guarantee) -> str:
        if promise.risk <= promise.wanted_risk:
            return ""
        return (
            f" These cells are too few to promise {_percent(promise.wanted_risk)}; the least that they allow is "
            f"{100 * promise.least_risk:.1f} %."
        )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _by_class(matrix: Sequence[Sequence[int]]) -> tuple[Any, Any, Any, Any]:
    """Precision, recall, F1 and number of each class, from a confusion matrix whose rows are the reference."""
    counts = np.asarray(matrix, dtype=np.float64)
    right, reference, predicted = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    precision, recall = right / np.maximum(predicted, 1), right / np.maximum(reference, 1)
    return precision, recall, 2 * right / np.maximum(predicted + reference, 1), reference.astype(int)


def _figures(matrix: Sequence[Sequence[int]]) -> dict[str, float]:
    """Accuracy, and the means over the classes of the others."""
    counts = np.asarray(matrix)
    means = dict(zip(("precision", "recall", "f1"), (float(x.mean()) for x in _by_class(matrix)[:3]), strict=True))
    return {"accuracy": float(counts.trace() / counts.sum())} | means


def check_license(license: str) -> None:
    """Raise `InputError` for what can't be the identifier of a licence on the Hub."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]{1,60}", license):
        raise InputError(
            f"--license {ascii(license)[:80]}: expected an identifier as the Hub lists them: apache-2.0, mit, "
            "cc-by-4.0, cc-by-nc-4.0, other, ..."
        )
