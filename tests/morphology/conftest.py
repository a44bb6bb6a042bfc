"""What several tests of the head measurement need."""

import numpy as np
import pytest
from PIL import Image

from madrnet_timm.morphology import (
    measure,
)


@pytest.fixture(scope="session")
def hushem_heads(hushem_dir):
    """Images of HuSHeM by ``folder/name``, and their measurements."""
    paths = sorted(path for path in hushem_dir.rglob("*") if path.suffix == ".BMP")
    images = {f"{path.parent.name}/{path.name}": np.asarray(Image.open(path).convert("RGB")) for path in paths}
    return images, {name: measure(image) for name, image in images.items()}
