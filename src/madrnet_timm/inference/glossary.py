"""What each column and each flag of a table of predictions means: for docs/predict.md and the report's tooltips."""

from ..morphology import HeadRanges

__all__ = ["COLUMNS", "DOMAIN", "FLAGS", "explain_word"]

_RANGES = HeadRanges()


def _range(name: str) -> str:
    return "{} to {}".format(*getattr(_RANGES, name))


COLUMNS = {
    "file": "The image, as it was named.",
    "page": "Number of the page, from 1, in a file of several; else empty.",
    "head": "Number of the head in its field, from 1, in reading order; empty for a crop, as are the next six.",
    "x0": "Left edge of the head's box in its field, in pixels.",
    "y0": "Upper edge of the box.",
    "x1": "Right edge of the box, the first column after it.",
    "y1": "Lower edge of the box, the first row below it.",
    "center_x": "Centre of the head in its field, in pixels from the left.",
    "center_y": "Centre of the head in its field, in pixels from the top.",
    "counted": "False: the head is cut by the border of its field, so it does not count for the slide.",
    "prediction": "The most probable class.",
    "probability": "Its probability, 0 to 1; calibrated if the model comes with a calibration.",
    "abstain": "True: the probability is below the model's threshold, or no head was found. Look yourself.",
    "prediction_set": "Classes among which the right one is with the probability that the model promises, usually "
    "95 %; the most probable first. Empty if it promises none, or no head was found.",
    "entropy": "Entropy of the probabilities in nats: 0 if the model is sure, log(classes) if it has no idea.",
    "out_of_domain": "How the image differs from those that the model was trained on, see below; empty: not at all.",
    "p_CLASS": "Probability of the class, 0 to 1.",
    "aspect_ratio": "γ: length over width of the ellipse with the head's second moments; 1 for a circle.",
    "head_length": "Long axis of the ellipse with the head's second moments, in pixels.",
    "head_width": "Short axis of the ellipse with the head's second moments, in pixels.",
    "angle": "Direction of the acrosome in degrees, counter-clockwise from the image's right.",
    "area": "Area of the head in square pixels.",
    "perimeter": "Length of the outline in pixels.",
    "solidity": "Area divided by the area of the convex hull: 1 if there are no dents.",
    "ellipticity": "Overlap (intersection over union) of the head and an ellipse with its second moments, 0 to 1.",
    "regularity": "π · length · width / (4 · area), with the extents along the axes: 1 for an ellipse.",
    "taper": "Width near the tail divided by width near the acrosome: below 1 if the head narrows towards the tail.",
    "asymmetry": "Difference between the sides of the long axis, divided by the mean width: 0 for mirror symmetry.",
    "acrosome_fraction": "Share of the head's area that the acrosome takes; empty if it cannot be determined.",
    "acrosome_contrast": "How much paler the acrosome is than the nucleus, 0 to 1; empty if it cannot be determined.",
    "ok": "True: γ and lengths can be trusted; False with no_head, touches_border, touching, low_contrast or unstable.",
    "flags": "Warnings, see below.",
    "length_um": "Length in µm; only where the scale is known.",
    "width_um": "Width in µm; only where the scale is known.",
    "area_um2": "Area in µm²; only where the scale is known.",
    "who_length_um": f"Whether the length is in the range of a normal head, {_range('length_um')} µm.",
    "who_width_um": f"Whether the width is in the range of a normal head, {_range('width_um')} µm.",
    "who_aspect_ratio": f"Whether γ is in the range of a normal head, {_range('aspect_ratio')}.",
    "who_acrosome_fraction": f"Whether the acrosome's share is that of a normal head, {_range('acrosome_fraction')}.",
    "no_sperm": "Probability that it is no sperm, by the model given to --screen; only with --screen.",
    "pixel_sha256": "Hash of the crop's or the field's pixels: the same for copies, whatever their names and formats.",
}

FLAGS = {
    "no_head": "No head was found: there is nothing to measure, and the class means nothing.",
    "touches_border": "The head reaches the edge of the image, so part of it may be missing; γ can't be trusted.",
    "touching": "The head touches or overlaps another one and could not be parted from it; γ can't be trusted.",
    "low_contrast": "The head is hardly darker than the noise around it; γ can't be trusted.",
    "unstable": "Turned by 90° or 180°, the image gives another outline and another γ; γ can't be trusted.",
    "two_heads": "There is another dark object of this size: a second head, or debris.",
    "cut_neck": "The outline was cut at a neck, where a midpiece or cytoplasm was attached to the head.",
    "irregular": "The outline has dents that a single head does not have: debris, or a clump.",
    "no_sperm": "The model given to --screen takes it for no sperm; it is not counted.",
    "polarity": "It is a guess which end bears the acrosome.",
}

DOMAIN = {
    "background_lightness": "The background is lighter or darker (L of CIE Lab).",
    "background_red_green": "The background is redder or greener (a of CIE Lab).",
    "background_blue_yellow": "The background is bluer or yellower (b of CIE Lab).",
    "head_lightness": "The head is lighter or darker.",
    "head_red_green": "The head is redder or greener.",
    "head_blue_yellow": "The head is bluer or yellower.",
    "relative_length": "The head is larger or smaller within its image: another magnification, or another way to crop.",
}


def explain_word(word: str) -> str:
    """What a flag, a feature of the domain or a column means; empty for a word that the package does not know."""
    return FLAGS.get(word) or DOMAIN.get(word) or COLUMNS.get(word, "")
