"""Codes of altered images, computed when a metric asks for them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.activations.baseline import Baseline
from harness.activations.center_crops import CropFolder
from harness.activations.pooled_codes import LabelledCodes, PooledCodes, Split, labelled_sample
from harness.activations.probing_images import ProbingImages
from harness.alterations import Alteration
from harness.cells.method_output import MethodCalls
from harness.cells.probing_codes import encoded
from harness.errors import UserError
from methods.base import Progress
from methods.tracing import traced

#: Most images of a split that are altered, each class in proportion. The states of 1000 images of a ViT-S/14 before a
#: layer are 400 MB on disk, for each alteration and severity.
MOST_ALTERED = 1000


@dataclass(frozen=True)
class AlteredCodes:
    """Codes of one method on altered images. The states of the network before the site are kept for other methods."""

    calls: MethodCalls
    baseline: Baseline
    progress: Progress

    @traced("codes of altered images")
    def __call__(self, alteration: Alteration, split: Split) -> LabelledCodes:
        """Return the codes of the altered labelled images of a split; at most :data:`MOST_ALTERED` of them.

        Their indices are those of the split, as in :attr:`harness.metrics.base.Outcome.image_codes`, which holds the
        codes of the unaltered images and may hold more of them.

        Raises:
            UserError: if the images cannot be altered, or ``encode`` breaks the contract.
        """
        probing, passes = self.baseline.probing, self.baseline.passes
        if probing is None:
            raise UserError("There are no probing images, in whose folder the states of altered images are kept.")
        images = probing.images if split == "probing" else self.baseline.images
        chosen = labelled_sample(images, MOST_ALTERED)
        altered = replace(
            passes,
            images=images.subset(chosen),
            readable=None,
            states=None,
            crops=CropFolder.of(probing.cache),
            alteration=alteration,
        )
        name = f"{split} images, {alteration.title} {alteration.severity}"
        return encoded(
            self.calls, ProbingImages(altered, probing.cache), PooledCodes(images), self.progress, name, chosen
        )
