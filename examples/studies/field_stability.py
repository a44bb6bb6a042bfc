"""How much the class of a head depends on how its field was photographed, where nobody knows the class.

    python -m examples.studies.field_stability --data-dir fields --models NAME NAME --screen NAME

The folder holds ``images/``, ``masks/`` (a label per hand-outlined head) and ``heads.csv``. The heads that
`search_field` finds and a hand has outlined are cut out as `madrnet predict` does, changed, measured and classified
again. The tables are in docs/fields.md.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from madrnet_timm.command import run_command

from .fields import matches

if TYPE_CHECKING:
    from madrnet_timm.inference import Classifier
    from madrnet_timm.inference.classifier import Prepared

Image = NDArray[np.uint8]

NORMAL_RATIO = (1.2, 1.8)  # the paper's 1.5 ± 0.3
MARGIN = 1.5  # of the wide square around a head, which is changed before the crop is cut out of it


@dataclass
class Head:
    """A head that was found.

    Attributes:
        day: Of its field.
        length: Typical length of the heads of its slide in pixels.
        wide: The square around it, wider than the crop of any model.
        ratio: γ by the outline that a hand drew; None where no hand drew one.
    """

    day: str
    length: float
    wide: Image
    ratio: float | None


@dataclass
class Answers:
    """What a model says of some heads, in one state.

    Attributes:
        labels: The classes.
        abstained: Whether it abstains.
        outside: Whether it calls the crop unlike its training images.
    """

    labels: list[str] = field(default_factory=list)
    abstained: list[bool] = field(default_factory=list)
    outside: list[bool] = field(default_factory=list)


def changes() -> dict[str, tuple[Callable[[Image], Image], ...]]:
    """Name and effect of each change on a square, two ways of it where it has a sign."""
    import cv2

    def warped(image: Image, degrees: float = 0, scale: float = 1, shift: float = 0) -> Image:
        middle = (image.shape[0] - 1) / 2
        matrix = cv2.getRotationMatrix2D((middle, middle), degrees, scale)
        matrix[:, 2] += shift
        how = {"flags": cv2.INTER_CUBIC, "borderMode": cv2.BORDER_REPLICATE}
        return cv2.warpAffine(image, matrix, image.shape[:2], **how)

    def compressed(image: Image) -> Image:
        _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 75])
        return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])

    return {
        "turned by ±10°": (lambda x: warped(x, degrees=10), lambda x: warped(x, degrees=-10)),
        "moved by ±3 px": (lambda x: warped(x, shift=3), lambda x: warped(x, shift=-3)),
        "10 % larger or smaller": (lambda x: warped(x, scale=1.1), lambda x: warped(x, scale=1 / 1.1)),
        "JPEG 75": (compressed,),
        "gain 0.85": (lambda x: np.rint(x * 0.85).astype(np.uint8),),
    }


def found_heads(folder: Path, without: Sequence[str], least_share: float) -> list[Head]:
    """The heads of all fields but those of some days; without those at the border."""
    import cv2
    from tqdm import tqdm

    from madrnet_timm.data.crops import cut_head
    from madrnet_timm.data.kinds import search
    from madrnet_timm.data.pages import pages_of, read_page
    from madrnet_timm.data.scale import SlideScale
    from madrnet_timm.files import read_csv

    paths = [path for path in sorted((folder / "images").iterdir()) if not path.name.startswith(tuple(without))]
    pages = pages_of(paths)
    slide = SlideScale.of(pages)
    ratios: dict[str, dict[int, float]] = {}
    for row in read_csv(folder / "heads.csv"):
        ratios.setdefault(row["image"], {})[int(row["head"])] = float(row["aspect_ratio"])
    out = []
    for page in tqdm(pages, leave=False, disable=None):
        image = read_page(page)
        labels = cv2.imread(str(folder / "masks" / f"{page.path.stem}.png"), cv2.IMREAD_UNCHANGED)
        found = search(image)
        length = slide.head_length(page, found)
        drawn = {number: label for label, (number, _) in matches(labels, found.heads).items()}
        for number, head in enumerate(found.heads):
            if head.touches_border or length is None:
                continue
            ratio = ratios[page.path.name].get(drawn[number]) if number in drawn else None
            wide = cut_head(image, head, round(MARGIN * length / least_share)).image
            out.append(Head(page.path.name[:10], length, wide, ratio))
    return out


class Model:
    """A model, and how it sees heads: with what its pipeline makes of them, or with that of another pipeline."""

    def __init__(self, name: str, pipeline: str | None = None, recolour: bool = False) -> None:
        from dataclasses import replace

        from madrnet_timm.inference import Classifier

        self.classifier: Classifier = Classifier(name)
        self.recolour = recolour
        if pipeline is not None:
            self.classifier.transform = replace(self.classifier.transform, pipeline=pipeline)

    def prepared(self, head: Head, wide: Image) -> "Prepared":
        """A head, cut out of its square at the model's scale."""
        from madrnet_timm.hub.crop_scale import crop_side
        from madrnet_timm.morphology import measure

        side = crop_side(head.length, self.classifier.folder.info)
        start = (len(wide) - side) // 2
        crop = np.ascontiguousarray(wide[start : start + side, start : start + side])
        if self.recolour:
            crop = recoloured(crop, self.classifier)
        return self.classifier.prepare(crop, head=measure(crop))

    def answers(self, heads: Sequence[Head], change: Callable[[Image], Image] = lambda image: image) -> Answers:
        """What it says of heads whose squares are changed."""
        out = Answers()
        for start in range(0, len(heads), 32):
            batch = [self.prepared(head, change(head.wide)) for head in heads[start : start + 32]]
            for one in self.classifier.predict(batch):
                out.labels.append(one.label)
                out.abstained.append(one.abstain)
                out.outside.append(bool(one.out_of_domain))
        return out

    def adapt(self, heads: Sequence[Head]) -> None:
        """Take the statistics of all batch norms from these heads in place of those of the training."""
        import torch
        from torch import nn

        model = self.classifier.model
        norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) and m.track_running_stats]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a mean over all batches
            norm.train()
        views = [self.prepared(head, head.wide).view for head in heads]
        with torch.no_grad():
            for start in range(0, len(views) - 31, 32):
                model(torch.from_numpy(self.classifier.normalized(views[start : start + 32])))
        model.eval()
        self.classifier.backend = lambda x: model(torch.from_numpy(x)).detach().numpy()

    @property
    def normal(self) -> str:
        """Its class of normal heads."""
        return str(self.classifier.folder.info.normal_class)

    @property
    def no_head(self) -> str | None:
        """Its class of what is no sperm."""
        return self.classifier.folder.info.no_head_class


def recoloured(crop: Image, classifier: "Classifier") -> Image:
    """A crop whose background and head have the colours of the middle of a model's domain: a line for each of Lab."""
    import cv2

    from madrnet_timm.data.domain import domain_features
    from madrnet_timm.morphology import measure

    known, domain = domain_features(crop, measure(crop)), classifier.folder.domain
    lab = cv2.cvtColor(crop, cv2.COLOR_RGB2LAB).astype(np.float32)
    for channel, name in enumerate(("lightness", "red_green", "blue_yellow")):
        ground, head = known[f"background_{name}"], known[f"head_{name}"]
        if ground is None or head is None:
            return crop
        to_ground, to_head = (sum(domain[f"{place}_{name}"]) / 2 for place in ("background", "head"))
        slope = (to_head - to_ground) / (head - ground) if abs(head - ground) > 8 else 1.0
        lab[..., channel] = to_ground + min(max(slope, -2), 2) * (lab[..., channel] - ground)
    return cv2.cvtColor(np.clip(np.rint(lab), 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB)


def kappa(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Cohen's kappa of two ways to say yes or no."""
    chance = one.mean() * other.mean() + (1 - one.mean()) * (1 - other.mean())
    return float(((one == other).mean() - chance) / max(1 - chance, 1e-9))


def percent(values: Any) -> str:
    return f"{100 * np.mean(values):.1f}"


def line(name: str, model: Model, heads: Sequence[Head]) -> tuple[list[str], Answers]:
    """A row of the table of stability, and what the model says of the heads as they are."""
    base = model.answers(heads)
    cells = [name]
    for ways in changes().values():
        same = [np.array(model.answers(heads, way).labels) == base.labels for way in ways]
        cells.append(percent(same))
    normal = np.array(base.labels) == model.normal
    range_ok = np.array([NORMAL_RATIO[0] <= (head.ratio or 0) <= NORMAL_RATIO[1] for head in heads])
    cells += [percent(base.abstained), percent(base.outside), percent(normal), percent(normal == range_ok)]
    cells.append(f"{kappa(normal, range_ok):.2f}")
    return cells, base


def screen_lines(name: str, screen: Model, model: Model, heads: Sequence[Head], others: Sequence[Head]) -> list[str]:
    """What a screen takes for no sperm, of outlined heads and of everything else that was found."""
    of_heads = np.array(screen.answers(heads).labels) == screen.no_head
    of_others = np.array(screen.answers(others).labels) == screen.no_head if others else np.zeros(0, bool)
    normal = np.array(model.answers(heads).labels) == model.normal
    kept = normal[~of_heads]
    return [
        f"{name} as a screen: {of_heads.sum()} of {len(heads)} outlined heads are no sperm, {of_others.sum()} of "
        f"{len(others)} other things that were found",
        f"share of Normal among the outlined heads: {percent(normal)} % without it, {percent(kept)} % of those that it "
        "keeps",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, metavar="DIR", help="images/, masks/, heads.csv")
    parser.add_argument(
        "--models", nargs="+", required=True, metavar="NAME", help="models of HuSHeM's classes or SMIDS'"
    )
    parser.add_argument("--screen", metavar="NAME", help="a model with a class of what is no sperm")
    parser.add_argument("--without", nargs="*", default=[], metavar="DAY", help="leave these days out, as 2022-11-23")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="look at each Nth outlined head only (1)")
    parser.add_argument("--variants", action="store_true", help="colours and batch statistics of the training, too")
    args = parser.parse_args()

    import cv2

    from madrnet_timm.hub.crop_scale import relative_length

    cv2.setNumThreads(1)
    models = {name: Model(name) for name in args.models}
    names = [*args.models, *([args.screen] if args.screen else [])]
    least = min(relative_length(Model(name).classifier.folder.info) for name in names)
    found = found_heads(args.data_dir, args.without, least)
    heads, others = [h for h in found if h.ratio is not None], [h for h in found if h.ratio is None]
    print(f"{len(heads)} outlined heads were found, and {len(others)} other things")
    heads = heads[:: args.every]
    print(f"{len(heads)} heads are looked at\n", flush=True)
    titles = ["model", *changes(), "abstains", "unlike its training images", "Normal", "Normal and γ agree", "kappa"]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    answers = {}
    for name, model in models.items():
        cells, answers[name] = line(name, model, heads)
        print(f"| {' | '.join(cells)} |", flush=True)
        if args.variants:
            print(f"| {' | '.join(line('with the colours of its training', Model(name, None, True), heads)[0])} |")
            adapted = Model(name)
            adapted.adapt(heads)
            print(f"| {' | '.join(line('with batch statistics of these heads', adapted, heads)[0])} |")
            if model.classifier.folder.info.mixed_views:
                print(f"| {' | '.join(line('with crops as they lie', Model(name, 'raw'), heads)[0])} |", flush=True)
    print()
    for number, name in enumerate(answers):
        for other in list(answers)[number + 1 :]:
            pair = [np.array(answers[n].labels) == models[n].normal for n in (name, other)]
            print(f"{name} and {other} on normal or not: {percent(pair[0] == pair[1])} %, kappa {kappa(*pair):.2f}")
    if args.screen:
        for text in screen_lines(args.screen, Model(args.screen), models[args.models[0]], heads, others):
            print(text)


if __name__ == "__main__":
    run_command(main)
