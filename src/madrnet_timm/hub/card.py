"""Model cards: YAML front matter and the measured figures."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from ..errors import InputError
from ..evaluation.controls import better_control
from ..evaluation.intervals import wilson_interval

__all__ = ["check_license", "model_card", "with_license"]

_METRICS = {"accuracy": "Accuracy", "precision": "Precision (macro)", "recall": "Recall (macro)", "f1": "F1 (macro)"}
_MORE = {"auc": "AUC (macro, one against the rest)", "calibration_error": "Expected calibration error, as trained"}

_BODY = """
# {architecture} for {title}

{what}

**Research use only; not a medical device.** It classifies crops of single stained sperm heads like those of its
training data ({classes}); it says nothing about fertility, and nothing about pictures of another kind.

## Use

```python
import timm
import madrnet_timm  # registers madrnet_* with timm

model = timm.create_model("local-dir:path/to/this/folder", pretrained=True).eval()
transform = madrnet_timm.create_transform(model)  # prepares images as in training, pipeline `{pipeline}`
logits = model(transform("head.png")[None])
model.pretrained_cfg["label_names"]  # {labels}
```

Use it in place of timm's own, which knows no pipelines. With calibrated probabilities, a measurement of the head and
what casts doubt on it:

```python
from madrnet_timm.inference import Classifier

Classifier("path/to/this/folder")(["head.png"])
```

## Data and protocol

{protocol}

## Results

On {pictures} held-out pictures. {interval} {note}

| metric | value |
|---|---|
{metrics}

| class | precision | recall | F1 | reference |
|---|---|---|---|---|
{per_class}

Controls on {where}: {controls}.{hint}

Confusion matrix (rows: reference, columns: predicted, in the order of the classes above): `{matrix}`

## Training

{command}
"""


def model_card(
    *,
    architecture: str,
    title: str,
    doi: str | None,
    class_names: Sequence[str],
    metrics: Mapping[str, Any],
    pictures: int,
    right: float,
    where: str,
    pipeline: str,
    protocol: str,
    note: str,
    command: str,
    license: str | None = None,
) -> str:
    """Text of a README.md with the front matter that the Hub reads.

    Args:
        architecture: Name of the model.
        title: Name of the data set.
        doi: DOI of the data set, if it was published.
        class_names: Name of each class id.
        metrics: Result of `classification_metrics` on the held-out pictures, that of `probability_metrics` where it is
            known, and their ``controls``.
        pictures: Number of those pictures.
        right: Number of them that are right; a mean where several seeds predicted them.
        where: What the controls were measured on.
        pipeline: Name of the data pipeline.
        protocol: What was trained and measured on which pictures.
        note: How to read the figures.
        command: How to train it again.
        license: Identifier of the weights' licence, as the Hub knows it; the card names none without it.
    """
    low, high = wilson_interval(right, pictures)
    results = [{"type": key, "name": name, "value": round(metrics[key], 4)} for key, name in _METRICS.items()]
    dataset = {"name": title, "type": title.lower().replace(" ", "-")}
    front = {
        "library_name": "timm",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "timm", "madrnet", "sperm-morphology", "microscopy"],
        "metrics": ["accuracy", "precision", "recall", "f1"],
        "model-index": [
            {
                "name": f"{architecture}.{dataset['type']}",
                "results": [
                    {
                        "task": {"type": "image-classification", "name": "Image classification"},
                        "dataset": dataset,
                        "metrics": results,
                    }
                ],
            }
        ],
    }
    source = f" ({title}, DOI {doi})" if doi else ""
    body = _BODY.format(
        architecture=architecture,
        title=title,
        what=(
            'MADRNet (Yang et al., "Morphology-Aware Dual-path Reversible Network for Sperm Classification") around '
            f"timm's {architecture.removeprefix('madrnet_')}."
            if architecture.startswith("madrnet_")
            else f"Plain timm {architecture}, trained as a baseline for MADRNet."
        ),
        classes=", ".join(class_names) + source,
        labels=list(class_names),
        pipeline=pipeline,
        protocol=protocol,
        pictures=pictures,
        where=where,
        interval=f"{right:.4g} of {pictures} right: {100 * right / pictures:.1f} %, 95 % Wilson interval "
        f"{100 * low:.1f} to {100 * high:.1f} %.",
        metrics="\n".join(
            f"| {name} | {metrics[key]:.4f} |" for key, name in (_METRICS | _MORE).items() if key in metrics
        ),
        per_class="\n".join(
            f"| {name} | {row['precision']:.3f} | {row['recall']:.3f} | {row['f1']:.3f} | {row['support']} |"
            for name, row in metrics["per_class"].items()
        ),
        controls=", ".join(f"{name} {100 * value:.1f} %" for name, value in metrics["controls"].items()),
        hint=f" **{hint}.**" if (hint := better_control(metrics["accuracy"], metrics["controls"])) else "",
        matrix=metrics["confusion_matrix"],
        note=note,
        command=command,
    )
    front = with_license(front, license)
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n{body}"


def check_license(license: str) -> None:
    """Raise `InputError` for what can't be the identifier of a licence on the Hub."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]{1,60}", license):
        raise InputError(
            f"--license {ascii(license)[:80]}: expected an identifier as the Hub lists them: apache-2.0, mit, "
            "cc-by-4.0, cc-by-nc-4.0, other, ..."
        )


def with_license(front: Mapping[str, Any], license: str | None) -> dict[str, Any]:
    """The front matter of a card with another licence, behind ``pipeline_tag`` where it stands on the Hub; None: none.

    Raises:
        InputError: See `check_license`.
    """
    rest = {key: value for key, value in front.items() if key != "license"}
    if license is None:
        return rest
    check_license(license)
    first = [key for key in ("library_name", "pipeline_tag") if key in rest]
    return {**{key: rest[key] for key in first}, "license": license, **rest}
