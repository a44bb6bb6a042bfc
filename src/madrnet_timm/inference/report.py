"""A results table as one self-contained HTML page."""

import base64
import html
import io
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..cells import printable
from ..data.reading import decode, read
from ..errors import InputError
from ..evaluation.prevalence import (
    LOWER_REFERENCE_LIMIT,
    NormalShare,
    normal_share,
    replicate_check,
    rogan_gladen,
    sensitivity_specificity,
)
from ..files import write_text
from ..morphology import HeadRanges, draw_overlay, measure
from .classifier import Classifier
from .explain import attention_overlays
from .results import Results

__all__ = ["write_report"]

_RESEARCH = "Research use only; not a medical device."
_GALLERY = 24  # pictures
_BINS = np.arange(1.0, 4.01, 0.1)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _share(results: Results) -> NormalShare | None:
    """Normal heads among the pictures that show a head, or None without a class for them."""
    normal, heads = results.info.normal_class, _heads(results)
    if normal is None or not heads:
        return None
    return normal_share(sum(row["prediction"] == normal for row in heads), len(heads))


def _heads(results: Results) -> list[dict[str, Any]]:
    """Rows of the pictures that are not of the class that shows no head."""
    return [row for row in results.rows if row["prediction"] != results.info.no_head_class]


def _share_section(results: Results, share: NormalShare) -> str:
    normal = results.info.normal_class
    figures = [
        f"<div class=figure>Normal heads<b>{_percent(share.share)}</b>{share.normal} of {share.total} heads; 95 % "
        "Wilson "
        f"interval {_percent(share.low)} to {_percent(share.high)}</div>"
    ]
    decided = [row for row in _heads(results) if not row["abstain"]]
    if 0 < len(decided) < share.total:
        sure = normal_share(sum(row["prediction"] == normal for row in decided), len(decided))
        figures.append(
            f"<div class=figure>Where the model decides<b>{_percent(sure.share)}</b>{sure.normal} of {sure.total}; "
            f"{_percent(sure.low)} to {_percent(sure.high)}. On {share.total - sure.total} it abstains: look "
            "yourself</div>"
        )
    correction = _correction(results, share)
    if correction is not None:
        figures.append(correction)
    verdict = (
        "The interval lies below"
        if share.high < LOWER_REFERENCE_LIMIT
        else "The interval lies above"
        if share.low >= LOWER_REFERENCE_LIMIT
        else "The interval includes"
    )
    few = (
        " WHO asks for at least 200 spermatozoa on each of two slides; on this one are fewer."
        if share.total < 200
        else ""
    )
    return (
        f"<div class=figures>{''.join(figures)}</div><p class=note>Heads only: this is not WHO's “normal forms”, "
        "which need "
        f"midpiece and tail, too. {verdict} WHO's lower reference limit of 4 % normal forms, the 5th centile of "
        "fathers and "
        f"no limit of fertility.{few}</p>"
    )


def _correction(results: Results, share: NormalShare) -> str | None:
    """The share corrected by the model's errors among heads, or None where they are not known or too large."""
    labels, confusion = results.info.label_names, results.info.confusion_matrix
    heads = [index for index, name in enumerate(labels) if name != results.info.no_head_class]
    matrix = [[confusion[row][column] for column in heads] for row in heads] if confusion else []
    try:
        normal = [labels[index] for index in heads].index(str(results.info.normal_class))
        sensitivity, specificity = sensitivity_specificity(matrix, normal)
    except (ValueError, IndexError):
        return None
    corrected = rogan_gladen(share.share, sensitivity, specificity)
    if corrected is None:
        return None
    return (
        f"<div class=figure>Corrected by the model's errors<b>{_percent(corrected)}</b>Rogan and Gladen, with the "
        f"sensitivity {_percent(sensitivity)} and specificity {_percent(specificity)} among the heads of the "
        f"{results.info.held_out} held-out pictures of its own data; on yours they may be others</div>"
    )


def _counts_section(results: Results) -> str:
    counts = Counter(row["prediction"] for row in results.rows)
    abstained = Counter(row["prediction"] for row in results.rows if row["abstain"])
    rows = []
    for name in results.info.label_names:
        share = counts[name] / len(results.rows)
        rows.append(
            f"<tr><td>{html.escape(name)}<td class=number>{counts[name]}<td class=number>{_percent(share)}<td "
            "class=number>"
            f"{abstained[name]}<td class=bar><span style='width:{100 * share:.0f}%'></span>"
        )
    head = "<tr><th>Class<th class=number>pictures<th class=number>share<th class=number>abstained<th>"
    return f"<div class=scroll><table>{head}{''.join(rows)}</table></div>"


def _histogram(results: Results) -> str:
    """γ of the heads where it can be trusted, against the range of a normal head, as SVG."""
    values = [row["aspect_ratio"] for row in results.rows if row["ok"] and row["aspect_ratio"] is not None]
    if not values:
        return "<p>No head could be measured.</p>"
    low, high = HeadRanges().aspect_ratio
    counts, _ = np.histogram(np.clip(values, _BINS[0], _BINS[-1] - 1e-6), _BINS)
    width, height, left, bottom = 640, 220, 40, 180
    scale = (width - left - 10) / (_BINS[-1] - _BINS[0])

    def x(value: float) -> float:
        return left + (value - _BINS[0]) * scale

    top = max(counts.max(), 1)
    bars = "".join(
        f"<rect x='{x(a):.1f}' y='{bottom - 150 * n / top:.1f}' width='{0.1 * scale - 1:.1f}' "
        f"height='{150 * n / top:.1f}' "
        "fill='#44475a'/>"
        for a, n in zip(_BINS[:-1], counts, strict=True)
    )
    ticks = "".join(
        f"<text x='{x(v):.1f}' y='{bottom + 18}' text-anchor='middle'>{v:.1f}</text>" for v in np.arange(1, 4.1, 0.5)
    )
    inside = np.mean([low <= value <= high for value in values])
    text = f"{_percent(float(inside))} of {len(values)} heads lie in {low} to {high}; median {np.median(values):.2f}"
    return (
        f"<svg viewBox='0 0 {width} {height}' role='img' aria-label='Histogram of the aspect ratio: {text}' "
        "font-size='13'>"
        f"<rect x='{x(low):.1f}' y='20' width='{(high - low) * scale:.1f}' height='160' fill='none' stroke='#1b1b1f' "
        f"stroke-dasharray='5 4'/><text x='{x((low + high) / 2):.1f}' y='14' text-anchor='middle'>normal {low} to "
        f"{high}"
        f"</text>{bars}<line x1='{left}' y1='{bottom}' x2='{width - 10}' y2='{bottom}' stroke='#1b1b1f'/>{ticks}"
        f"<text x='{left - 6}' y='{bottom - 146}' text-anchor='end'>{top}</text><text x='{(width + left) / 2}' "
        f"y='{height - 4}' text-anchor='middle'>aspect ratio γ (length / width); the last bar holds all from 3.9 "
        "on</text>"
        f"</svg><p>{text}.</p>"
    )


def _excluded_section(results: Results) -> str:
    skipped = results.info.skipped
    doubtful = [row for row in results.rows if not row["ok"]]
    outside = Counter(name for row in results.rows for name in str(row["out_of_domain"] or "").split())
    abstained = sum(bool(row["abstain"]) for row in results.rows)
    lines = [
        f"{len(skipped)} files were skipped.",
        f"On {abstained} pictures the model abstains; they are counted by their most probable class above.",
        f"On {len(doubtful)} heads γ can't be trusted (no head, at the border, low contrast); they are not in the "
        "histogram.",
    ]
    if outside:
        worst = ", ".join(f"{name.replace('_', ' ')} ({count})" for name, count in outside.most_common())
        lines.append(
            f"{sum(bool(row['out_of_domain']) for row in results.rows)} pictures are unlike those that the model "
            "was trained "
            f"on: {html.escape(worst)}. Where these are many, do not trust the classes."
        )
    out = "".join(f"<li>{line}" for line in lines)
    reasons = "".join(f"<li>{html.escape(reason)}" for reason in skipped)
    return f"<ul>{out}</ul>" + (
        f"<details open><summary>Skipped</summary><ul>{reasons}</ul></details>" if reasons else ""
    )


def _png(image: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _chosen(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pictures for the gallery: of each class in turn the least and the most certain."""
    by_class: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: row["probability"]):
        by_class.setdefault(row["prediction"], []).append(row)
    out: list[dict[str, Any]] = []
    while len(out) < _GALLERY and any(by_class.values()):
        for waiting in by_class.values():
            if waiting and len(out) < _GALLERY:
                out.append(waiting.pop(0 if len(out) // max(len(by_class), 1) % 2 == 0 else -1))
    return out


def _gallery(results: Results, classifier: Classifier | None) -> str:
    cards = []
    for row in _chosen(results.rows):
        path = results.picture(row["file"])
        try:
            image = decode(read(path), str(path)) if path is not None else None
        except InputError:
            image = None
        pictures = "<p>(the picture is not there any more)</p>"
        if image is not None:
            prepared = None if classifier is None else classifier.prepare(image)
            head = measure(image) if prepared is None else prepared.head
            shown = draw_overlay(image, head, 2)[: 2 * image.shape[0]]
            pictures = f"<img src='{_png(shown)}' alt='outline and axes of the head'>"
            if classifier is not None and prepared is not None:
                try:
                    maps = attention_overlays(classifier, [prepared])[0]
                    stage = "reversible" if "reversible" in maps else next(iter(maps))
                    pictures += f"<img src='{_png(maps[stage])}' alt='what speaks for the class'>"
                except InputError:
                    pass  # a plain timm model has no such maps
        gamma = "–" if row["aspect_ratio"] is None else f"{row['aspect_ratio']:.2f}"
        flags = html.escape(" ".join(part for part in (row["flags"], row["out_of_domain"]) if part))
        doubt = " (abstains)" if row["abstain"] else ""
        cards.append(
            f"<div class=card><div class=pair>{pictures}</div><b>{html.escape(row['prediction'])}</b> "
            f"{_percent(row['probability'])}{doubt}<br>γ {gamma} {flags}<div "
            f"class=name>{html.escape(printable(row['file']))}</div></div>"
        )
    left = "Left: outline (green where γ can be trusted), axes, direction of the acrosome."
    right = (
        " Right: as the network sees it, with what speaks for the class (Grad-CAM++ behind R)."
        if classifier is not None
        else ""
    )
    note = f"<p class=note>{left}{right} Of each class in turn, least and most certain.</p>"
    return f"{note}<div class=gallery>{''.join(cards)}</div>"


def _origin_section(results: Results) -> str:
    info = results.info
    entries = {
        "Results": printable(str(results.path)),
        "Model": printable(f"{info.model} ({info.architecture})"),
        "Trained and measured": info.protocol,
        "Accuracy there": None if info.accuracy is None else _percent(info.accuracy),
        "Abstains below": None if info.threshold is None else f"{info.threshold:.3f} calibrated probability",
        "Scale": f"{info.um_per_px} µm a pixel" if info.um_per_px else "not given: lengths in pixels only",
        "Software": f"madrnet-timm {info.version}",
        "Predicted": info.created,
    }
    rows = "".join(f"<tr><th>{key}<td>{html.escape(str(value))}" for key, value in entries.items() if value is not None)
    return f"<div class=scroll><table>{rows}</table></div>"


def _classifier(results: Results) -> Classifier | None:
    try:
        found = Classifier(results.info.model)
    except InputError:
        return None
    same = found.folder.digest() == results.info.digest  # and not another by now
    return found if same and found.folder.architecture.startswith("madrnet_") else None


def write_report(results: Sequence[Results], output: Path) -> None:
    """Write a report of one slide, or of two slides of one sample.

    Args:
        results: One or two tables of `madrnet predict`.
        output: The HTML file; it needs nothing else, neither files nor a network.

    Raises:
        InputError: No pictures in a table, or the file can't be written.
    """
    for what, values in (
        ("models", {result.info.digest for result in results}),
        ("scales (--um-per-px)", {result.info.um_per_px for result in results}),
    ):
        if len(values) > 1:
            raise InputError(f"{results[0].path} and {results[1].path}: made with different {what}; predict both alike")
    sections, shares = [], []
    for number, result in enumerate(results, 1):
        if not result.rows:
            raise InputError(f"{result.path}: holds no pictures; nothing to report")
        title = f"Slide {number}: " if len(results) > 1 else ""
        share = _share(result)
        shares.append(share)
        sections.append(f"<h2>{title}Normal heads</h2>")
        sections.append(
            _share_section(result, share) if share else "<p>No class of this model means a normal head.</p>"
        )
        sections.append(f"<h2>{title}Classes</h2>{_counts_section(result)}")
        sections.append(f"<h2>{title}Aspect ratio γ</h2>{_histogram(result)}")
        sections.append(f"<h2>{title}What was left out, and doubts</h2>{_excluded_section(result)}")
        sections.append(f"<h2>{title}Pictures</h2>{_gallery(result, _classifier(result))}")
        sections.append(f"<h2>{title}Where this comes from</h2>{_origin_section(result)}")
    if len(shares) == 2 and shares[0] is not None and shares[1] is not None:
        difference, limit, agree = replicate_check(shares[0], shares[1])
        both = normal_share(shares[0].normal + shares[1].normal, shares[0].total + shares[1].total)
        verdict = "agree" if agree else "do not agree: take new slides"
        sections.insert(
            0,
            f"<h2>Two slides</h2><p>The two {verdict}. They differ by {_percent(difference)}; the binomial 95 % "
            "limit is "
            f"{_percent(limit)}.</p><p>Together {_percent(both.share)} normal heads, {_percent(both.low)} to "
            f"{_percent(both.high)} (95 % Wilson interval, {both.total} heads).</p>",
        )
    style = resources.files(__package__).joinpath("report.css").read_text(encoding="utf-8")
    page = (
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width, "
        f"initial-scale=1'><title>Sperm heads: report</title><style>{style}</style></head><body><h1>Sperm heads: "
        "report</h1>"
        f"<p class=warning><b>{_RESEARCH}</b> It says nothing about midpiece, tail, motility, DNA or fertility.</p>"
        f"{''.join(sections)}</body></html>\n"
    )
    write_text(output, page)
