"""Colour and letter of each class, the same in overlays, the report and the page that takes fields."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Mark", "class_marks"]

Colour = tuple[int, int, int]

_NORMAL: Colour = (0, 122, 84)
_NO_HEAD: Colour = (85, 85, 85)
_OTHERS: tuple[Colour, ...] = (
    (0, 84, 190), (200, 60, 0), (176, 0, 120), (120, 72, 0), (140, 0, 40), (90, 40, 170),
)  # fmt: skip
"""All of them dark enough for a pale background and for white letters, and apart for the colour-blind."""


@dataclass(frozen=True)
class Mark:
    """How a class is shown.

    Attributes:
        letter: Few letters that no other class of the model has, such as ``N``.
        colour: RGB, 0 to 255; white letters can be read on it.
    """

    letter: str
    colour: Colour

    @property
    def html(self) -> str:
        """The colour as HTML writes it, ``#007a54``."""
        return "#{:02x}{:02x}{:02x}".format(*self.colour)


def _letters(name: str, taken: Sequence[str]) -> str:
    """The first of: initial, initials of its words, its first two, three ... letters; that is not taken yet."""
    words = re.findall(r"\w+", name) or ["?"]
    whole = "".join(words)
    tries = [words[0][0], "".join(word[0] for word in words)] + [whole[:n] for n in range(2, len(whole) + 1)]
    tries = [text[0].upper() + text[1:] for text in tries]
    tries[1] = tries[1].upper()
    return next((text for text in tries if text not in taken), f"{tries[0]}{len(taken)}")


def class_marks(
    label_names: Sequence[str], normal_class: str | None = None, no_head_class: str | None = None
) -> dict[str, Mark]:
    """Letter and colour of each class.

    Args:
        label_names: The classes of a model.
        normal_class: The one that has the green and the first choice of a letter.
        no_head_class: The one that is gray.
    """
    others = [name for name in label_names if name not in (normal_class, no_head_class)]
    colours = {name: _OTHERS[number % len(_OTHERS)] for number, name in enumerate(others)}
    colours |= {name: colour for name, colour in ((normal_class, _NORMAL), (no_head_class, _NO_HEAD)) if name}
    letters: dict[str, str] = {}
    for name in sorted(label_names, key=lambda name: (name != normal_class, name == no_head_class)):
        letters[name] = _letters(name, list(letters.values()))
    return {name: Mark(letters[name], colours[name]) for name in label_names}
