"""A page that finds, classifies and measures sperm heads: drop a field of view or a crop, or a folder of them.

    python hub/space/app.py

MADRNET_MODEL names another model than the default: a folder, a published name, or hf-hub:owner/name.
"""

import math
import os
import shutil
import tempfile
import zipfile
from collections import Counter, deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
from PIL import Image

from madrnet_timm.commands import arguments
from madrnet_timm.data.crops import HeadCrop, cut_head
from madrnet_timm.data.kinds import examine, kind_by_size
from madrnet_timm.data.measuring import place_row
from madrnet_timm.data.pages import Page, read_single
from madrnet_timm.data.synthetic import SHAPES, draw_head
from madrnet_timm.data.synthetic_field import FieldStyle, draw_field
from madrnet_timm.errors import InputError
from madrnet_timm.inference import Classifier
from madrnet_timm.inference.class_marks import class_marks
from madrnet_timm.inference.classifier import FieldPrediction, Prediction
from madrnet_timm.inference.counting import count_slides, doubts, normal_class, share_of, shows_no_head
from madrnet_timm.inference.explain import attention_overlays
from madrnet_timm.inference.field_images import field_overlay
from madrnet_timm.inference.glossary import explain_word
from madrnet_timm.inference.predict import predict_files, prediction_row
from madrnet_timm.inference.predicted import Predicted
from madrnet_timm.inference.report import write_report
from madrnet_timm.inference.results import Results, info_path, read_results, write_results
from madrnet_timm.morphology import HeadMorphology, draw_overlay

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
info = classifier.folder.info
marks = class_marks(classifier.label_names, info.normal_class, info.no_head_class)


@dataclass(frozen=True)
class Head:
    """A head that was classified, in the crop that the network was shown; its centre in the field, and a title."""

    crop: HeadCrop
    prediction: Prediction
    center: tuple[float, float] = (0, 0)
    title: str = ""


def _scale(text: str) -> float | None:
    """Micrometres per pixel as typed, with a decimal point or comma; None if empty or not typed to the end."""
    try:
        found = arguments.number(text)
        arguments.check_scale(found)
    except (ValueError, InputError):
        return None
    return found


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


def show(head: Head | None) -> tuple[Any, ...]:
    """Overlay, attention map, class probabilities, measurements and doubts of one head."""
    if head is None:
        return None, None, None, None, ""
    measured = head.crop.head
    checks = measured.who_checks()
    words = {True: "in range", False: "out of range", None: ""}
    rows = [
        [title, f"{getattr(measured, name):.4g}", words[checks.get(name)]]
        for name, title in MEASURES.items()
        if getattr(measured, name) is not None
    ]
    prepared = classifier.prepare(head.crop.image, measured.um_per_px, measured)
    try:
        maps = attention_overlays(classifier, [prepared])[0]
        attention = maps.get("reversible", next(iter(maps.values())))
    except InputError:
        attention = prepared.view
    attention = attention.repeat(3, axis=0).repeat(3, axis=1)
    probabilities = None if "no_head" in measured.flags else head.prediction.probabilities
    return draw_overlay(head.crop.image, measured), attention, probabilities, rows, head.title + _notes(head.prediction)


def one(file: str | None, scale: str) -> tuple[Any, ...]:
    """What `show` gives of a crop, or of a field's first head; then the field, if it is one, and its heads."""
    if file is None:
        return *show(None), *_field_hidden(), None
    um_per_px = _scale(scale)
    note = f"{UNKNOWN_SCALE}\n\n" if scale.strip() and um_per_px is None else ""
    try:
        image = read_single(Path(file))
        kind = kind_by_size(image.shape[1], image.shape[0])
        found = None if kind == "field" else examine(image, um_per_px=um_per_px, name=Path(file).name)
        if not isinstance(found, HeadMorphology):
            return _one_field(image, classifier.field(file, um_per_px), note)
    except InputError as error:
        raise gr.Error(str(error).replace(f"{Path(file).parent}{os.sep}", "")) from None
    (prediction,) = classifier.predict([classifier.prepare(image, um_per_px, found)])
    return *show(Head(HeadCrop(image, found, (0, 0)), prediction, title=note)), *_field_hidden(), None


def _field_hidden() -> tuple[Any, ...]:
    return gr.update(visible=False), None, "", None, None


def _one_field(image: np.ndarray, field: FieldPrediction, note: str) -> tuple[Any, ...]:
    if not field.predictions:
        said = f"{note}**No heads were found in this field**: {field.reason}. Nothing is counted."
        return *show(None), gr.update(visible=True), image, said, None, None, None
    heads, rows, table, crops = [], [], [], []
    for number, prediction in enumerate(field, 1):
        crop = cut_head(image, prediction.head, field.crop_side)
        row = prediction_row("", prediction, "", place_row(prediction.head, number=number))
        state = "" if row["counted"] else " (at the border, not counted)"
        small = replace(prediction, head=crop.head)  # the field's own masks are large
        heads.append(Head(crop, small, prediction.head.center, f"### Head {number}{state}\n\n"))
        rows.append(row)
        crops.append((crop.image, f"{number} {marks[prediction.label].letter}{'?' if doubts(row) else ''}"))
        table.append([
            number, prediction.label, f"{row['probability']:.3f}", f"{row['aspect_ratio']:.2f}",
            f"{prediction.head.length:.0f}", "; ".join(["at the border"] * (not row["counted"]) + [_doubts(row)]),
        ])  # fmt: skip
    overlay = field_overlay(image, rows, [prediction.head.contour for prediction in field], marks)
    said = note + _field_summary(rows, field)
    return *show(heads[0]), gr.update(visible=True), overlay, said, table, crops, heads


def _field_summary(rows: list[dict[str, Any]], field: FieldPrediction) -> str:
    """How many heads of each class, without those at the border."""
    inside = [row for row in rows if row["counted"]]
    counted = [row for row in inside if not shows_no_head(row, info.no_head_class)]
    decided = [row for row in counted if not doubts(row)]
    classes = Counter(row["prediction"] for row in counted)
    said = f"**{len(counted)} heads counted**, {len(rows) - len(inside)} at the border"
    said += f", {len(inside) - len(counted)} {info.no_head_class}" if info.no_head_class is not None else ""
    said += ". " + ", ".join(f"{name} {classes[name]}" for name in classifier.label_names if name != info.no_head_class)
    said += f"; {len(counted) - len(decided)} of them doubtful"
    if (share := share_of(decided, info.normal_class)) is not None:
        said += (
            f". Normal, without the doubtful ones: {100 * share.share:.1f} % (95 % Wilson interval "
            f"{100 * share.low:.1f} to {100 * share.high:.1f} %)"
        )
    if field.um_per_px is not None:
        said += f". {field.um_per_px:.4g} µm per pixel ({field.um_source})"
    return f"{said}.\n\nClick a head, its crop or its row to see it."


def head_at(heads: list[Head] | None, event: gr.SelectData) -> tuple[Any, ...]:
    """`show` of the head under the pointer; nothing changes where there is none."""
    distances = [math.dist(head.center, event.index) for head in heads or []]
    nearest = int(np.argmin(distances)) if distances else 0
    if not distances or distances[nearest] > heads[nearest].crop.head.length:
        return (gr.skip(),) * 5
    return show(heads[nearest])


def head_numbered(heads: list[Head] | None, event: gr.SelectData) -> tuple[Any, ...]:
    """`show` of the head whose crop or row was clicked."""
    number = event.index if isinstance(event.index, int) else event.index[0]
    return show(heads[number]) if heads else (gr.skip(),) * 5


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
    without += f", at the border of a field {len(count.border)}" if count.border else ""
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
    try:
        images = _copied(files, folder)
        found = _found(images, folder, um_per_px)
        write_results(table, found, classifier)
        results = read_results(table)
        write_report([results], page, classifier=classifier)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    for image in images:  # what was dropped is not kept
        image.unlink()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in (table, info_path(table), page):
            packed.write(path, path.name)
    return _summary(results), _lines(found), [str(archive), str(page)], scale


def _found(images: list[Path], folder: Path, um_per_px: float | None) -> Predicted:
    """What was found in the images, which are named without their folder."""
    try:
        found = predict_files(images, classifier, um_per_px)
    except InputError as error:  # a scale that does not fit
        raise gr.Error(str(error)) from None
    found.skipped = [why.replace(f"{folder}{os.sep}", "") for why in found.skipped]
    found.fields = [replace(field, file=Path(field.file).name) for field in found.fields]
    if not found.rows:
        reasons = [*found.skipped, *(f"{Page(Path(field.file), field.page)}: {field.reason}" for field in found.fields)]
        raise gr.Error("No head was found in any of these. " + "; ".join(reasons[:3]))
    for row in found.rows:
        row["file"] = Path(row["file"]).name
    return found


def _lines(found: Predicted) -> list[list[str]]:
    """A line for each head, each field without one, and each image that could not be read."""
    lines = [
        [
            row["file"] + "".join(f", {what} {row[what]}" for what in ("page", "head") if row[what] is not None),
            *(("", "") if "no_head" in row["flags"] else (row["prediction"], f"{row['probability']:.3f}")),
            _doubts(row),
            "" if row["aspect_ratio"] is None else f"{row['aspect_ratio']:.2f}",
            _words(row["flags"].split()),
        ]
        for row in found.rows
    ]
    lines += [
        [str(Page(Path(field.file), field.page)), "", "", f"no heads: {field.reason}", "", ""]
        for field in found.fields
        if field.reason
    ]
    return lines + [[why.split(":")[0], "skipped", "", why, "", ""] for why in found.skipped]


def many_again(files: list[str] | None, scale: str, before: str | None) -> tuple[Any, ...]:
    """`many` with another scale than ``before``, where something was classified before."""
    if not files or before in (None, scale):
        return gr.skip(), gr.skip(), gr.skip(), gr.skip()
    return many(files, scale)


def _examples() -> list[list[str]]:
    """Drawn fields and heads, to try the page with."""
    folder = Path(tempfile.mkdtemp())
    style = FieldStyle("rose", head_length=48)
    fields = {
        "small_field": draw_field(3, (900, 720), heads=9, overlapping=1, at_border=1, style=style),
        "field": draw_field(1, heads=9, touching=1, at_border=1),
        "papanicolaou": draw_field(2, (900, 720), heads=6, style=FieldStyle("papanicolaou", head_length=60)),
    }
    drawn = {f"drawn_{name}.jpg": field.image for name, field in fields.items()}
    drawn |= {f"drawn_{shape.lower()}.png": draw_head(shape, number).image for number, shape in enumerate(SHAPES)}
    for name, image in drawn.items():
        Image.fromarray(image).save(folder / name, quality=92)
    return [[str(folder / name)] for name in drawn]


with gr.Blocks(title="Sperm heads", delete_cache=(3600, 3600)) as page:
    gr.Markdown(
        f"# Sperm heads\nMADRNet, `{Path(MODEL).name}`. Fields of view of a stained smear, or crops of single human "
        "sperm heads. **Research use only; not a medical device.**"
    )
    scale = gr.Textbox(label="µm per pixel", placeholder="such as 0.1; empty if you don't know", elem_id="scale")
    with gr.Tab("One image"):
        upload = gr.Image(
            label="a field of view, or the crop of a head", type="filepath", image_mode=None, height=260,
            sources=["upload", "clipboard"], elem_id="image",
        )  # fmt: skip
        gr.Examples(_examples(), [upload], label="Drawn fields and heads, to try it", elem_id="examples")
        heads = gr.State(None, time_to_live=3600)
        with gr.Row():
            with gr.Column(visible=False, scale=3) as field_part:
                field_said = gr.Markdown(elem_id="field_said")
                field_view = gr.Image(
                    label="the field's heads", type="numpy", format="jpeg", interactive=False, elem_id="field"
                )
                crops = gr.Gallery(
                    label="crops", columns=5, allow_preview=False, object_fit="contain", format="jpeg", elem_id="crops"
                )
                headers = ["head", "class", "probability", "γ", "length, px", "doubts"]
                widths = ["60px", "100px", "100px", "60px", "80px", "230px"]
                field_table = gr.Dataframe(
                    headers=headers, label="heads", wrap=True, column_widths=widths, elem_id="heads"
                )
            with gr.Column(scale=2):
                with gr.Row():
                    overlay = gr.Image(label="outline, axes, acrosome", type="numpy")
                    heat = gr.Image(label="what speaks for the class (Grad-CAM++)", type="numpy")
                said = gr.Markdown(elem_id="said")
                bars = gr.Label(label="probabilities", show_heading=False)
                headers, widths = ["measurement", "value", "WHO range"], ["45%", "25%", "30%"]
                table = gr.Dataframe(headers=headers, label="measurements", wrap=True, column_widths=widths)
        shown = [overlay, heat, bars, table, said]
        outputs = [*shown, field_part, field_view, field_said, field_table, crops, heads]
        gr.on([upload.change, scale.change], one, [upload, scale], outputs, trigger_mode="always_last")
        field_view.select(head_at, heads, shown)
        gr.on([crops.select, field_table.select], head_numbered, heads, shown)
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
