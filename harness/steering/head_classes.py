"""Names of the classes that a head predicts."""

from __future__ import annotations

from harness.datasets.label_sets import IMAGENET_1K
from harness.steering.imagenet_names import imagenet_names
from harness.steering.stored_layers import StoredLayer


def head_classes(layer: StoredLayer) -> tuple[str, ...]:
    """Return the names of the head's classes, in the order of its logits; ``class 7`` if they are not known."""
    baseline, backbone = layer.baseline, layer.prepared.backbone
    n = int(baseline.logits.shape[1])
    classes, index = layer.prepared.evaluation.classes, baseline.head.class_index
    names = [f"class {number}" for number in range(n)]
    if n == len(imagenet_names()) and backbone.head_labels == IMAGENET_1K:
        names = list(imagenet_names())
    elif index is not None:
        for name, number in zip(classes, index.tolist(), strict=True):
            if 0 <= number < n:
                names[number] = name
    return tuple(names)
