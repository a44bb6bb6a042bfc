"""OpenCV: the one place where it is imported, and where one line says what it lacks."""

import re

from .errors import InputError

__all__ = ["MissingLibraryError", "cv2"]


class MissingLibraryError(InputError, ImportError):
    """OpenCV is not installed, or a library of the system that it needs."""


try:
    import cv2
except ImportError as error:
    if getattr(error, "name", None) == "cv2" and isinstance(error, ModuleNotFoundError):
        raise MissingLibraryError("OpenCV is not installed; pip install opencv-python-headless") from error
    library = re.match(r"(lib\S+): cannot open shared object file", str(error))
    if library is None:  # of something that OpenCV imports
        raise
    raise MissingLibraryError(
        f"OpenCV needs {library[1]}, which is not on this system; apt-get install libgl1 libglib2.0-0, or put "
        "opencv-python-headless in the place of opencv-python"
    ) from error
