"""A page that classifies and measures sperm heads: drop an image, or a folder of them.

    python hub/space/app.py

MADRNET_MODEL names another model than the default: a folder, a published name, or hf-hub:owner/name.
"""

import math
import os
import shutil
import tempfile
import zipfile
from collections import deque
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from PIL import Image

from madrnet_timm.data.reading import read_image
from madrnet_timm.data.synthetic import SHAPES, draw_head
from madrnet_timm.errors import InputError
from madrnet_timm.inference import Classifier
from madrnet_timm.inference.counting import count_slides, normal_class, share_of
from madrnet_timm.inference.explain import attention_overlays
from madrnet_timm.inference.glossary import explain_word
from madrnet_timm.inference.predict import predict_files
from madrnet_timm.inference.report import write_report
from madrnet_timm.inference.results import Results, info_path, read_results, write_results
from madrnet_timm.morphology import draw_overlay

NAME = "madrnet_tf_efficientnet_lite0.smids_ft_hushem"
BESIDE = Path(__file__).parent / NAME  # in a Space, which has no checkout around it
MODEL = os.environ.get("MADRNET_MODEL") or (str(BESIDE) if BESIDE.is_dir() else NAME)
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
UNKNOWN_SCALE = "The scale is no number of micrometres per pixel, such as 0.1: lengths are in pixels."
LARGEST_FILE = "20mb"
STYLE = ".prose * { overflow-wrap: anywhere; } .prose code { white-space: normal; }"

torch.set_num_threads(max(torch.get_num_threads() // 2, 1))
KEPT = 20  # results on the disk
made: deque[Path] = deque()
classifier = Classifier(MODEL)


def _scale(text: str) -> float | None:
    """Micrometres per pixel as typed, with a decimal point or comma; None if empty or not typed to the end."""
    try:
        found = float(text.replace(",", "."))
    except ValueError:
        return None
    return found if 0 < found < math.inf else None


def _words(names: Any) -> str:
    return ", ".join(name.replace("_", " ") for name in sorted(names))


def _notes(prediction: Any) -> str:
    """The class of an image and every reason to doubt it, as Markdown."""
    head = prediction.head
    if "no_head" in head.flags:
        return "**No head was found**, so that there is no class and nothing to measure."
    doubts = []
    if prediction.abstain:
        doubts.append("The model is not sure enough to decide.")
    if prediction.out_of_domain:
        doubts.append(f"The image is unlike the model's training images in: {_words(prediction.out_of_domain)}.")
    if not head.ok:
        doubts.append("The outline can't be trusted.")
    said = f"Class: **{prediction.label}**"
    if doubts:
        said = f"Class: **{prediction.label}, but doubtful: look yourself**"
    flags = [f"{_words([flag]).capitalize()}: {explain_word(flag)}" for flag in sorted(head.flags)]
    return "\n\n".join([said, *doubts, *flags])


def one(file: str | None, scale: str) -> tuple[Any, ...]:
    """Overlay, attention map, class probabilities, measurements and doubts of one image."""
    if file is None:
        return None, None, None, None, ""
    try:
        image = read_image(Path(file), crop=True)
    except InputError as error:
        raise gr.Error(str(error).replace(f"{Path(file).parent}{os.sep}", "")) from None
    prepared = classifier.prepare(image, _scale(scale))
    (prediction,) = classifier.predict([prepared])
    head = prediction.head
    checks = head.who_checks()
    words = {True: "in range", False: "out of range", None: ""}
    rows = [
        [title, f"{getattr(head, name):.4g}", words[checks.get(name)]]
        for name, title in MEASURES.items()
        if getattr(head, name) is not None
    ]
    try:
        maps = attention_overlays(classifier, [prepared])[0]
        attention = maps.get("reversible", next(iter(maps.values())))
    except InputError:
        attention = prepared.view
    attention = attention.repeat(3, axis=0).repeat(3, axis=1)
    probabilities = None if "no_head" in head.flags else prediction.probabilities
    notes = _notes(prediction)
    if scale.strip() and _scale(scale) is None:
        notes += f"\n\n{UNKNOWN_SCALE}"
    return draw_overlay(image, head), attention, probabilities, rows, notes


def _copied(files: list[str], folder: Path) -> list[Path]:
    """The images in a folder of their own, under the names that they were dropped with."""
    out: list[Path] = []
    for file in map(Path, files):
        target, number = folder / file.name, 2
        while target.exists():
            target, number = folder / f"{file.stem} ({number}){file.suffix}", number + 1
        out.append(Path(shutil.copyfile(file, target)))
    return out


def _doubts(row: dict[str, Any]) -> str:
    if "no_head" in row["flags"]:
        return "no head was found"
    found = ["the model abstains"] if row["abstain"] else []
    if row["out_of_domain"]:
        found.append(f"unlike the training images: {_words(row['out_of_domain'].split())}")
    if not row["ok"]:
        found.append("outline not to be trusted")
    return "; ".join(found)


def _summary(results: Results) -> str:
    """The share of normal heads, as in the report."""
    (count,) = count_slides([results])
    share = share_of(count.decided, normal_class(results))
    without = f"doubtful {len(count.doubtful)}, without a head {len(count.no_head)}, copies {count.copies}"
    if share is None:
        return f"**No share of normal heads.** {len(count.images)} images: {without}."
    return (
        f"**Normal heads, without the doubtful ones: {100 * share.share:.1f} %** ({share.normal} of {share.total}; "
        f"95 % Wilson interval {100 * share.low:.1f} to {100 * share.high:.1f} %). Not counted: {without}."
    )


def many(files: list[str] | None, scale: str) -> tuple[Any, ...]:
    """Summary and table of some images, files to download (table, what the report needs, report), and the scale."""
    if not files:
        raise gr.Error("Drop some images first.")
    um_per_px = _scale(scale)
    if scale.strip() and um_per_px is None:
        raise gr.Error(UNKNOWN_SCALE)
    folder = Path(tempfile.mkdtemp())
    made.append(folder)
    while len(made) > KEPT:  # long fetched
        shutil.rmtree(made.popleft(), ignore_errors=True)
    table, page, archive = folder / "results.csv", folder / "report.html", folder / "results.zip"
    images = _copied(files, folder)
    try:
        found = predict_files(images, classifier, um_per_px)
    except InputError as error:  # a scale that does not fit
        raise gr.Error(str(error)) from None
    found.skipped = [why.replace(f"{folder}{os.sep}", "") for why in found.skipped]
    if not found.rows:
        raise gr.Error("None of these could be read: " + "; ".join(found.skipped[:3]))
    for row in found.rows:
        row["file"] = Path(row["file"]).name
    write_results(table, found, classifier)
    results = read_results(table)
    write_report([results], page, classifier=classifier)
    for image in images:  # what was dropped is not kept
        image.unlink()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in (table, info_path(table), page):
            packed.write(path, path.name)
    shown = [
        [
            row["file"],
            *(("", "") if "no_head" in row["flags"] else (row["prediction"], f"{row['probability']:.3f}")),
            _doubts(row),
            "" if row["aspect_ratio"] is None else f"{row['aspect_ratio']:.2f}",
            _words(row["flags"].split()),
        ]
        for row in found.rows
    ]
    shown += [[why.split(":")[0], "skipped", "", why, "", ""] for why in found.skipped]
    return _summary(results), shown, [str(archive), str(page)], scale


def many_again(files: list[str] | None, scale: str, before: str | None) -> tuple[Any, ...]:
    """`many` with another scale than ``before``, where something was classified before."""
    if not files or before in (None, scale):
        return gr.skip(), gr.skip(), gr.skip(), gr.skip()
    return many(files, scale)


def _examples() -> list[list[str]]:
    """Drawn heads, to try the page with."""
    folder = Path(tempfile.mkdtemp())
    out = []
    for number, shape in enumerate(SHAPES):
        path = folder / f"drawn_{shape.lower()}.png"
        Image.fromarray(draw_head(shape, number).image).save(path)
        out.append([str(path)])
    return out


with gr.Blocks(title="Sperm heads", delete_cache=(3600, 3600)) as page:
    gr.Markdown(
        f"# Sperm heads\nMADRNet, `{Path(MODEL).name}`. Crops of single stained human sperm heads. "
        "**Research use only; not a medical device.**"
    )
    scale = gr.Textbox(label="µm per pixel", placeholder="such as 0.1; empty if you don't know", elem_id="scale")
    with gr.Tab("One image"):
        with gr.Row():
            upload = gr.Image(
                label="image", type="filepath", image_mode=None, sources=["upload", "clipboard"], elem_id="image"
            )
            overlay = gr.Image(label="outline, axes, acrosome", type="numpy")
            heat = gr.Image(label="what speaks for the class (Grad-CAM++)", type="numpy")
        gr.Examples(_examples(), [upload], label="Drawn heads, to try it", elem_id="examples")
        with gr.Row():
            with gr.Column():
                said = gr.Markdown(elem_id="said")
                bars = gr.Label(label="probabilities", show_heading=False)
            table = gr.Dataframe(headers=["measurement", "value", "WHO range"], label="measurements", wrap=True)
        shown = [overlay, heat, bars, table, said]
        gr.on([upload.change, scale.change], one, [upload, scale], shown, trigger_mode="always_last")
    with gr.Tab("A folder"):
        files = gr.File(label="images", file_count="multiple", file_types=["image"], elem_id="files")
        run = gr.Button("Classify", elem_id="classify")
        summary = gr.Markdown(elem_id="summary")
        headers = ["file", "class", "probability", "doubts", "γ", "flags"]
        widths = ["190px", "110px", "110px", "280px", "60px", "160px"]
        results = gr.Dataframe(headers=headers, label="results", wrap=True, column_widths=widths)
        downloads = gr.File(
            label="table with what the report needs, and the report", file_count="multiple", elem_id="downloads"
        )
        used = gr.State(None)
        outputs = [summary, results, downloads, used]
        run.click(many, [files, scale], outputs)
        gr.on([scale.submit, scale.blur], many_again, [files, scale, used], outputs)

if __name__ == "__main__":
    page.launch(css=STYLE, max_file_size=LARGEST_FILE)
