"""Images of a table of predictions, read again: only those that have the very pixels that were classified."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..data.crops import cut_head
from ..data.kinds import search
from ..data.pages import Page, read_page
from ..data.reading import pixel_sha256
from ..errors import InputError
from ..morphology import HeadMorphology, measure
from .counting import Row
from .results import Results

__all__ = ["StoredImages", "data_address"]

_CROP_HEADS = 2.4  # side of the square around a head in heads, where the table does not say what the model was shown


def data_address(image: NDArray[np.uint8], quality: int) -> str:
    """An RGB image as a ``data:`` address, in JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "JPEG", quality=quality, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _square(image: NDArray[np.uint8], x: float, y: float, side: int) -> NDArray[np.uint8]:
    """A square around a point; what lies beyond the border has the median colour of the rest."""
    left, top = round(x - side / 2), round(y - side / 2)
    x0, y0 = max(left, 0), max(top, 0)
    seen = image[y0 : max(top + side, 0), x0 : max(left + side, 0)]
    if seen.shape[:2] == (side, side) or not seen.size:
        return seen
    out = np.empty((side, side, 3), np.uint8)
    out[:] = np.median(seen.reshape(-1, 3), axis=0).astype(np.uint8)
    out[y0 - top : y0 - top + seen.shape[0], x0 - left : x0 - left + seen.shape[1]] = seen
    return out


class StoredImages:
    """Reads images that rows of a table name. The last one is kept, so that a field is read once for its heads.

    Args:
        results: The table.
    """

    def __init__(self, results: Results) -> None:
        self._results = results
        self._records = {(record.file, record.page): record for record in results.info.fields}
        self._kept: tuple[tuple[str, int | None, str], NDArray[np.uint8]] | None = None

    def whole(self, file: str, page: int | None, pixels: str, crop: bool = False) -> NDArray[np.uint8]:
        """A crop or a field, RGB.

        Args:
            file: As the table names it.
            page: Number from 1 in a file of several.
            pixels: Its `pixel_sha256`.
            crop: It is the crop of a single head.

        Raises:
            InputError: It is not there, can't be read, or is not what was classified.
        """
        key = file, page, pixels
        if self._kept is not None and self._kept[0] == key:
            return self._kept[1]
        if not pixels:
            raise InputError("the table does not say which pixels it was; predict again")
        problem: InputError | None = None
        for path in self._results.image_paths(file):
            try:
                image = read_page(Page(path, page), crop)
            except InputError as error:
                problem = problem or error
                continue
            if pixel_sha256(image) == pixels:
                self._kept = key, image
                return image
            problem = problem or InputError("the image is not, or no longer, the one that was classified")
        raise problem or InputError("the image is not there any more")

    def head(self, row: Row) -> NDArray[np.uint8]:
        """The image of a row: a crop as it is, and of a field the square around the head.

        Raises:
            InputError: See `whole`.
        """
        image = self.whole(row["file"], row["page"], row["pixel_sha256"], crop=row["head"] is None)
        box = [row[name] for name in ("x0", "y0", "x1", "y1")]
        if row["head"] is None or None in box:
            return image
        x0, y0, x1, y1 = box
        square = _square(image, (x0 + x1) / 2, (y0 + y1) / 2, self._side(row, image))
        if not square.size:
            raise InputError("the head lies outside of its field; predict again")
        return square

    def measured_head(self, row: Row) -> tuple[NDArray[np.uint8], HeadMorphology]:
        """The image of a row as the model was shown it, and its measurement.

        The heads of a field are found anew; where there is none in the same place, since another version found it, the
        square around that place is measured.

        Raises:
            InputError: See `whole`.
        """
        image = self.head(row)
        if row["head"] is None:
            return image, measure(image)
        record = self._records.get((row["file"], row["page"]))
        field = self.whole(row["file"], row["page"], row["pixel_sha256"])
        found = search(field, None if record is None else record.um_per_px)
        box = tuple(row[name] for name in ("x0", "y0", "x1", "y1"))
        for head in found.heads:
            if head.box == box:
                crop = cut_head(field, head, self._side(row, field))
                return crop.image, crop.head
        return image, measure(image)

    def _side(self, row: Row, field: NDArray[np.uint8]) -> int:
        """Of the square around a head of a field."""
        record = self._records.get((row["file"], row["page"]))
        side = None if record is None else record.crop_side
        if side is None:
            side = round(_CROP_HEADS * max(row["x1"] - row["x0"], row["y1"] - row["y0"], 1))
        return min(side, *field.shape[:2])  # whatever the table says
