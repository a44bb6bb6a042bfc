"""Figures in the sentences of the pages and of the README come from the stored predictions and measurements."""

from collections import Counter

import numpy as np
import pytest

from .counting import (
    CONTROLS,
    control_rows,
    differences,
    fold_accuracies,
    mean_sd,
    prose,
    right_of,
    row,
    stored,
    wilson,
)  # fmt: skip


def mean(name, seeds="012"):
    return np.mean(list(fold_accuracies([found for found in stored(name) if found["seed"] in seeds]).values()))


def test_results():
    """docs/results*.md."""
    overview, hushem = prose("docs/results.md"), prose("docs/results-hushem.md")
    assert f"`hushem-five`, reaches {mean('hushem-five'):.1f} % on HuSHeM" in overview
    assert f"On seeds 1 and 2 alone, `hushem-madrnet` reaches {mean('hushem-madrnet', '12'):.1f} %" in overview
    fold = [found for found in stored("hushem-madrnet") if (found["seed"], found["fold"]) == ("0", "1")]
    assert f"One image of a HuSHeM fold is {100 / len(fold):.1f} points" in overview
    right = 0.963 * 216  # five folds as alike as they can be: some with one image more right than the others
    sizes = [44, 43, 43, 43, 43]
    least = min(
        np.std([100 * k / size for k, size in zip(split, sizes, strict=True)], ddof=1)
        for split in ([a, b, c, d, e] for a in range(40, 45) for b in range(40, 44) for c in range(40, 44)
                      for d in range(40, 44) for e in range(40, 44))
        if abs(np.mean([k / size for k, size in zip(split, sizes, strict=True)]) - right / 216) < 0.0005
    )  # fmt: skip
    assert f"at that mean it would be {least:.2f} at least" in hushem
    gain = differences("ablation-backbone", "ablation-embedding")[0]
    assert f"the embedding is the whole gain, {gain:.0f} points" in prose("docs/results-ablations.md")
    assert f"the embedding alone gains {gain:.0f} points" in prose("docs/results-log.md")
    over = [
        differences("hushem-small-smids-neck-again", name)[0] for name in ("hushem-small-unlabelled", "hushem-teachers")
    ]
    assert 0.5 < over[0] / over[1] < 1
    log = prose("docs/results-log.md")
    assert "more than half of what the mean of the four gains over the single model" in log
    student, alone = ([r for r in stored(n) if r["seed"] == "0"] for n in ("hushem-b0-distilled", "hushem-b0"))
    assert f"{right_of(student)[0]:.0f} of 216 right with it, {right_of(alone)[0]:.0f} without" in log
    found = {}
    for way in ("single", "mixup", "soup"):
        name = f"hushem-steady-{way}"
        by_seed = [right_of([r for r in stored(name) if r["seed"] == seed])[0] for seed in "012"]
        found[way] = "{:.0f}, {:.0f} and {:.0f}".format(*by_seed)
    assert f"On the three seeds {found['mixup']} of 216 are right, without it {found['single']}" in log
    assert f"{found['soup']} are right: on no seed less than either of the two" in log
    joined, network = (right_of(stored(name))[0] for name in ("hushem-b0-joined", "hushem-b0"))
    assert round(joined - network) == 1
    assert "It is one more of 216 right, which is noise" in log


def test_soup():
    """docs/results-log.md, results.md, train.md: a soup, its trainings, and the published recipe."""
    seeds = [[int(cell) for cell in row("soup", seed)[1:]] for seed in "012"]
    alone, soups = [count for seed in seeds for count in seed[:2]], [seed[2] for seed in seeds]
    span, soup_span = f"{min(alone)} to {max(alone)}", f"{min(soups)} to {max(soups)}"
    mean_alone, published = np.mean(alone), right_of(stored("hushem-smids-neck"))[0]
    log = prose("docs/results-log.md")
    assert f"The six trainings are right on {span} images, {mean_alone:.1f} on average" in log
    assert f"the three soups on {soup_span}" in log
    assert f"The published recipe had {published:.1f} with one training" in log
    assert f"it is {published - mean_alone:.1f} images worse here" in log
    results = prose("docs/results.md")
    assert f"is right on {span} of 216 images with one training, and on {soup_span} with three" in results
    assert f"were right on {span} of 216 images, means of three on {soup_span}" in prose("docs/train.md")


def test_frozen():
    """docs/peers.md and results.md: the backbone without training."""
    text = prose("docs/peers.md")
    names = {data: (f"{data}-madrnet", f"{data}-frozen") for data in ("hushem", "smids")}
    frozen = {data: f"{mean(name):.1f} %" for data, (_, name) in names.items()}
    below = {data: f"{-differences(*pair)[0]:.1f} points below" for data, pair in names.items()}
    linear = {
        data: f"{np.mean(list(fold_accuracies(control_rows('shape and stain', data)).values())):.1f} %"
        for data in frozen
    }
    assert f"with {frozen['hushem']} it is {below['hushem']}, and below the linear model" in text
    plain, ours = (right_of(stored(name))[0] for name in ("hushem-resnet50-plain", "hushem-resnet50"))
    assert f"plain {plain:.0f} of 216, as MADRNet {ours:.0f}" in text
    assert ours - plain == 1
    assert "One more of 216 is right." in prose("docs/results-log.md")
    both = f"{mean('hushem-frozen-measured'):.1f} %"
    assert f"lift it to {both}; alone, in the linear model, they have {linear['hushem']}" in text
    assert f"nearer: {frozen['smids']}, {below['smids']} MADRNet" in text
    assert f"and above the linear model ({linear['smids']})" in text
    gap = f"{-differences('smids-madrnet', 'smids-frozen-measured')[0]:.1f} points below"
    assert f"beside its features, {mean('smids-frozen-measured'):.1f} %, it is {gap}" in text
    assert f"without any training (`hushem-frozen`) reaches {frozen['hushem']}, less than" in prose("docs/results.md")


def test_benchmark():
    """docs/choices.md: memory on the GPU."""
    gpu = {
        (found["backbone"], found["setting"]): found for found in stored("benchmark") if "NVIDIA" in found["machine"]
    }
    text = prose("docs/choices.md")

    def value(setting, column, backbone="resnet50"):
        return float(gpu[backbone, setting][column])

    memory, step = (value("plain", column) for column in ("peak_ratio", "step_ratio"))
    assert (
        f"R costs {100 * (memory - 1):.0f} % of the memory of a ResNet-50's step and {100 * (step - 1):.0f} %" in text
    )
    assert f"takes {(value('plain, depth 6', 'peak_mb') - value('plain', 'peak_mb')) / 3000:.2f} GB in plain" in text
    saved, cost = (
        [
            100 * sign * (value(reversible, column) / value(plain, column) - 1)
            for plain, reversible in (("plain", "reversible"), ("plain, depth 6", "reversible, depth 6"))
        ]
        for column, sign in (("peak_mb", -1), ("step_ratio", 1))
    )
    assert f"saves {saved[0]:.0f} % of the memory at n = 3 and {saved[1]:.0f} % at n = 6" in text
    assert f"costs {cost[0]:.0f} % and {cost[1]:.0f} % of the step" in text
    names = ("resnet50", "efficientnet_b0")
    least = [f"{value('reversible, backbone checkpointed', 'peak_ratio', name):.2f}" for name in names]
    assert f"takes it to {' and '.join(least)} of the bare" in text


@pytest.mark.parametrize(
    ("marker", "backbone", "machine"),
    [
        (f"benchmark {machine} {backbone}", backbone, machine)
        for machine in ("CPU", "NVIDIA")
        for backbone in ("resnet50", "efficientnet_b0")
    ],
)
def test_benchmark_tables(marker, backbone, machine):
    found = [
        cells
        for cells in stored("benchmark")
        if cells["machine"].startswith(machine) and cells["backbone"] == backbone and cells["img_size"] == "512"
    ]
    assert found
    for cells in found:
        figures = [cells["peak_mb"], cells["peak_ratio"], *([cells["step_ratio"]] if machine == "NVIDIA" else [])]
        assert row(marker, cells["setting"])[1:] == figures


def test_choices_and_engine():
    found = {}
    for cells in stored("choices"):
        found.setdefault(cells["setting"], []).append(cells)
    for setting, folds in found.items():
        cells = row("choices", setting)
        assert cells[1] == mean_sd([100 * float(fold["accuracy"]) for fold in folds])
        for column, key, scale in ((3, "loss", 1), (4, "accuracy", 100)):
            gap = np.mean([float(fold[f"{key}_running"]) - float(fold[f"{key}_batch"]) for fold in folds])
            assert float(cells[column]) == pytest.approx(scale * gap, abs=0.051 if scale == 100 else 0.00051)
    for cells in stored("engine"):
        assert row("engine", cells["depth"], cells["setting"]) == list(cells.values())


def test_transfers():
    """docs/cross-validate.md: how many of the lost points the adapted norms give back."""
    drops = {
        (tested, norms): -float(
            row("transfers", f"madrnet_tf_efficientnet_lite0.{own}", tested, norms)[7].split(" ± ")[0]
        )
        for own, tested in (("hushem", "SMIDS"), ("smids", "HuSHeM"))
        for norms in ("as trained", "adapted")
    }
    there, back = (
        f"{drops[tested, 'as trained'] - drops[tested, 'adapted']:.0f} of {drops[tested, 'as trained']:.0f}"
        for tested in ("SMIDS", "HuSHeM")
    )
    text = prose("docs/cross-validate.md").replace("of the", "of")
    assert f"From HuSHeM to SMIDS this gives back {there} points that are lost, the other way {back} (" in text


def test_another_stain():
    """docs/another-stain.md: what stands in its sentences."""
    text = prose("docs/another-stain.md")

    def balanced_accuracy(model, tested, norms):
        return row("transfers", f"madrnet_tf_efficientnet_lite0.{model}", tested, norms)[5].split(" ± ")[0]

    pairs = (("hushem", "SMIDS"), ("smids", "HuSHeM"))
    one, other = (balanced_accuracy(*pair, "as trained") for pair in pairs)
    assert f"HuSHeM's model reaches {one} % on SMIDS, that of SMIDS {other} % on HuSHeM" in text
    one, other = (balanced_accuracy(*pair, "adapted") for pair in pairs)
    assert f"Yes, on these: {one} and {other} %." in text
    homes = ("hushem", "HuSHeM, held out"), ("smids", "SMIDS, held out")
    one, other = (balanced_accuracy(*home, "") for home in homes)
    assert f"at home they have {one} and {other} %" in text
    before, after = (mean(f"hushem-session-{name}", "0") for name in ("small", "varied"))
    assert f"{after:.1f} % instead of {before:.1f} %: noise" in text
    labelled = [mean(name) for name in ("hushem-smids-neck", "smids-madrnet")]
    shape = [
        np.mean(list(fold_accuracies(control_rows("shape and stain", name)).values())) for name in ("hushem", "smids")
    ]
    said = f"HuSHeM is at {labelled[0]:.1f} % with a network and {shape[0]:.1f} % with shape and stain"
    assert f"{said}, SMIDS at {labelled[1]:.1f} and {shape[1]:.1f} %" in text
    gains = [a - b for a, b in zip(labelled, shape, strict=True)]
    assert f"{gains[0]:.0f} points on HuSHeM (within the noise) and {gains[1]:.0f} on SMIDS" in text
    images = Counter()
    for name in ("hushem", "smids"):
        for found in stored(f"few-labels-{name}"):
            if found["way"] == "backbone":
                images[name, found["heads"], found["draw"]] += int(found["images"])
    assert f"measured on {min(images.values())} to {max(images.values())} images" in text
    first, second = (
        [
            float(cell.split(" ± ")[0])
            for name in ("hushem", "smids")
            for cell in row(f"few-labels {name}", way)[2:]
        ]
        for way in ("shape and stain", "backbone")
    )  # fmt: skip
    assert all(a > b for a, b in zip(first[:3], second[:3], strict=True))
    ahead = [b - a for a, b in zip(first[3:], second[3:], strict=True)]
    assert f"the frozen backbone is {min(ahead):.0f} to {max(ahead):.0f} points ahead" in text

    def means(name, way):
        return [cell.split(" ± ")[0] for cell in row(f"few-labels {name}", way)[2:]]

    tuned, frozen = (means("smids", way) for way in ("fine-tuned", "backbone, shape and stain"))
    assert all(
        float(best) >= float(other)
        for way in ("shape and stain", "backbone", "embedding")
        for best, other in zip(frozen, means("smids", way), strict=True)
    )
    ten, twenty, fifty = (f"{one} against {other} %" for one, other in zip(tuned, frozen, strict=True))
    said = f"{ten} with 10 heads of a class, {twenty} with 20, {fifty} with 50"
    assert f"ahead of the best frozen way on SMIDS: {said}" in text
    tuned, shape = (means("hushem", way) for way in ("fine-tuned", "shape and stain"))
    ten, twenty, forty = (f"{one} against {other} %" for one, other in zip(tuned, shape, strict=True))
    fewest, most = (pick(images["hushem", "40", str(draw)] for draw in range(10)) for pick in (min, max))
    said = f"{ten}, {twenty}, and with 40 heads, measured on {fewest} to {most} images a draw, {forty}"
    assert f"level with shape and stain: {said}" in text
    assert f"({row('few-labels smids', 'fine-tuned')[2].partition(' ')[2]} on SMIDS)" in text
    fields = prose("docs/fields.md")
    for cells in ("| 62.0 (0.32) |", "| 84.0 (0.61) |", "| 84.0 (0.53) |", "| 82.0 (0.42) |"):
        assert cells in fields
    assert "agree on 46.6 % of the heads" in fields


def test_reproduce():
    """docs/reproduce.md: the paper's own recipe."""
    rows, text = stored("hushem-paper-resnet50"), prose("docs/reproduce.md")
    right, images = right_of(rows)
    low, high = wilson(right, images)
    assert f"{right:.0f} of {images} held-out images right (Wilson {low:.1f} to {high:.1f} %)" in text
    right, images = right_of(stored("hushem-paper"))
    assert f"{right:.0f} of {images}" in text


TITLES = ("largest class", "background alone, random forest", "shape and relative stain, logistic regression")


def test_data():
    """docs/data.md: the controls."""
    for name, title in zip(CONTROLS, TITLES, strict=True):
        five = f"{mean_sd(fold_accuracies(control_rows(name, 'hushem')))} %"
        sessions = fold_accuracies([found | {"prediction": found[name]} for found in stored("controls-hushem-session")])
        assert f"| {title} | {five} | {sessions['0', '0']:.1f} % | {sessions['0', '1']:.1f} % |" in prose(
            "docs/data.md"
        )


README = (
    ("`madrnet_tf_efficientnet_lite0.smids_ft_hushem` | HuSHeM", "hushem-smids-neck", "madrnet_tf_efficientnet_lite0"),
    ("`madrnet_efficientnet_b0.hushem` | HuSHeM", "hushem-b0", "madrnet_efficientnet_b0"),
    ("`madrnet_resnet50.hushem`, without ImageNet weights | HuSHeM", "hushem-resnet50", "madrnet_resnet50"),
    ("EfficientNet-Lite0, the backbone alone | HuSHeM", "hushem-plain", "tf_efficientnet_lite0"),
    ("control: linear model of measured shape and stain | HuSHeM", "", ""),
    ("`madrnet_tf_efficientnet_lite0.smids_both`, two views | SMIDS", "smids-both", "madrnet_tf_efficientnet_lite0"),
)


@pytest.mark.parametrize(("start", "name", "network"), README)
def test_rows_of_the_readme(start, name, network):
    rows = stored(name) if name else control_rows("shape and stain", "hushem")
    one_seed = any(word in start for word in ("alone", "resnet50"))
    assert len({found["seed"] for found in rows}) == (1 if one_seed else 3)
    low, high = wilson(*right_of(rows))
    size = f"{row('parameters figure_11', network)[1]} M " if network else ""
    line = f"| {start} | {mean_sd(fold_accuracies(rows))} % | {low:.1f} to {high:.1f} % | {size}|"
    assert line in prose("README.md")


def test_readme():
    readme = prose("README.md")
    assert f"the mean of five models equals it ({mean_sd(fold_accuracies(stored('hushem-five')))} %)" in readme
    by_control = {
        name: [
            f"{np.mean(list(fold_accuracies(control_rows(name, data)).values())):.1f} %" for data in ("hushem", "smids")
        ]
        for name in CONTROLS
    }
    assert f"On SMIDS the linear control reaches {by_control['shape and stain'][1]}" in readme
    assert "reaches {} on HuSHeM and {} on SMIDS".format(*by_control["background"]) in readme
    assert "largest class gives {} and {}".format(*by_control["largest class"]) in readme
