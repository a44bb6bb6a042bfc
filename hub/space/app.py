"""A page that classifies and measures sperm heads: drop a picture, or a folder of them.

    python hub/space/app.py

MADRNET_MODEL names another model than the default: a folder, a published name, or hf-hub:owner/name.
"""

import os
import shutil
import tempfile
from collections import deque
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch

from madrnet_timm.errors import InputError
from madrnet_timm.inference import Classifier
from madrnet_timm.inference.explain import attention_overlays
from madrnet_timm.inference.predict import predict_files
from madrnet_timm.inference.report import write_report
from madrnet_timm.inference.results import read_results, write_results
from madrnet_timm.morphology import draw_overlay

MODEL = os.environ.get("MADRNET_MODEL", "madrnet_tf_efficientnet_lite0.smids_ft_hushem")
MEASURES = {
    "aspect_ratio": "aspect ratio γ",
    "length": "length, px",
    "width": "width, px",
    "length_um": "length, µm",
    "width_um": "width, µm",
    "area": "area, px²",
    "ellipticity": "ellipticity",
    "taper": "taper",
    "asymmetry": "asymmetry",
    "acrosome_fraction": "acrosome, part of the head",
}

torch.set_num_threads(max(torch.get_num_threads() // 2, 1))
KEPT = 20  # results on the disk
made: deque[Path] = deque()
classifier = Classifier(MODEL)


def _scale(um_per_px: float | None) -> float | None:
    return um_per_px if um_per_px and um_per_px > 0 else None


def one(image: np.ndarray | None, um_per_px: float | None) -> tuple[Any, ...]:
    """Overlay, attention map, class probabilities, measurements and warnings of one picture."""
    if image is None:
        raise gr.Error("Drop a picture first.")
    if min(image.shape[:2]) < 8:
        raise gr.Error("The picture is smaller than 8 × 8 pixels.")
    prepared = classifier.prepare(np.ascontiguousarray(image[..., :3]), _scale(um_per_px))
    (prediction,) = classifier.predict([prepared])
    head = prediction.head
    checks = head.who_checks()
    words = {True: "in range", False: "out of range", None: ""}
    rows = [
        [title, f"{getattr(head, name):.4g}", words[checks.get(name)]]
        for name, title in MEASURES.items()
        if getattr(head, name) is not None
    ]
    notes = [f"Class: **{prediction.label}**"]
    if prediction.abstain:
        notes.append("The model is not sure enough to decide: look yourself.")
    if prediction.out_of_domain:
        what = ", ".join(name.replace("_", " ") for name in prediction.out_of_domain)
        notes.append(f"Unlike the model's training pictures in: {what}.")
    if head.flags:
        notes.append(f"Measurement: {', '.join(sorted(head.flags)).replace('_', ' ')}.")
    try:
        maps = attention_overlays(classifier, [prepared])[0]
        attention = maps.get("reversible", next(iter(maps.values())))
    except InputError:
        attention = prepared.view
    attention = attention.repeat(3, axis=0).repeat(3, axis=1)
    return draw_overlay(image[..., :3], head), attention, prediction.probabilities, rows, "\n\n".join(notes)


def many(files: list[str] | None, um_per_px: float | None) -> tuple[list[list[Any]], list[str]]:
    """Table of a folder of pictures, and files to download: the table and the report."""
    if not files:
        raise gr.Error("Drop some pictures first.")
    rows, skipped = predict_files([Path(file) for file in files], classifier, _scale(um_per_px))
    if not rows:
        raise gr.Error("None of these could be read: " + "; ".join(skipped[:3]))
    folder = Path(tempfile.mkdtemp())
    made.append(folder)
    while len(made) > KEPT:  # long fetched
        shutil.rmtree(made.popleft(), ignore_errors=True)
    table = folder / "results.csv"
    write_results(table, rows, skipped, classifier, _scale(um_per_px))
    write_report([read_results(table)], folder / "report.html")
    shown = [
        [
            Path(row["file"]).name,
            row["prediction"],
            round(row["probability"], 3),
            "yes" if row["abstain"] else "",
            "" if row["aspect_ratio"] is None else round(row["aspect_ratio"], 2),
            row["flags"],
        ]
        for row in rows
    ]
    shown += [[Path(why.split(":")[0]).name, "skipped", "", "", "", why] for why in skipped]
    return shown, [str(table), str(folder / "report.html")]


with gr.Blocks(title="Sperm heads", delete_cache=(3600, 3600)) as page:
    gr.Markdown(
        f"# Sperm heads\nMADRNet, `{MODEL}`. Crops of single stained human sperm heads. "
        "**Research use only; not a medical device.**"
    )
    scale = gr.Number(label="µm per pixel (leave empty if you don't know)", value=None)
    with gr.Tab("One picture"):
        with gr.Row():
            picture = gr.Image(label="picture", type="numpy", image_mode="RGB", sources=["upload", "clipboard"])
            overlay = gr.Image(label="outline, axes, acrosome", type="numpy")
            heat = gr.Image(label="what speaks for the class (Grad-CAM++)", type="numpy")
        with gr.Row():
            bars = gr.Label(label="class")
            with gr.Column():
                said = gr.Markdown(elem_id="said")
                table = gr.Dataframe(headers=["measurement", "value", "WHO range"], label="measurements")
        picture.change(one, [picture, scale], [overlay, heat, bars, table, said])
    with gr.Tab("A folder"):
        files = gr.File(label="pictures", file_count="multiple", file_types=["image"])
        run = gr.Button("Classify")
        headers = ["file", "class", "probability", "abstains", "γ", "flags"]
        results = gr.Dataframe(headers=headers, label="results")
        downloads = gr.File(label="table and report", file_count="multiple")
        run.click(many, [files, scale], [results, downloads])

if __name__ == "__main__":
    page.launch()
