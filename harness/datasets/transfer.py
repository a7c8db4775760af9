"""Images of another set to evaluate on, with the classes of the set on which methods are fitted."""

from __future__ import annotations

import dataclasses

import numpy as np

from harness.datasets.base import ImageSet
from harness.datasets.hierarchy import ClassHierarchy, HierarchyError
from harness.datasets.loading import require_readable
from methods.errors import UserError
from results.store.further_set import FURTHER_SET


def transferred(images: ImageSet, probing: ImageSet, evaluation: int | float, *, seed: int = 0) -> ImageSet:
    """Return evaluation images of another set, labelled with the classes of the probing images.

    Classes correspond if they have one name; images of other classes have no label. The class hierarchy is that of the
    probing images, so that one question is asked on both sets; without one it is that of the other set, as far as it is
    above shared classes.

    Args:
        images: the other set. If it has a predefined split, its evaluation images are used.
        probing: the probing images.
        evaluation: number of images, or a share; of larger sets a sample in which each class is in proportion.
        seed: seed of the sample.

    Raises:
        UserError: if an image is one of the probing images too.
    """
    if images.predefined_split is not None:
        images = images.subset(images.predefined_split.evaluation)
    wanted = max(1, round(evaluation * len(images))) if isinstance(evaluation, float) else evaluation
    if wanted < len(images):
        images = images.split(evaluation=wanted, seed=seed).evaluation
    _refuse_shared(images, probing)
    number = {name: index for index, name in enumerate(probing.classes)}
    table = np.asarray([number.get(name, -1) for name in images.classes] + [-1])
    labels = table[[-1 if record.label is None else record.label for record in images.records]].tolist()
    records = tuple(
        record._replace(label=None if label < 0 else label)
        for record, label in zip(images.records, labels, strict=True)
    )
    shared = sum(int(index) >= 0 for index in table[:-1])
    hierarchy, problem = probing.class_hierarchy, ""
    if hierarchy is None and images.class_hierarchy is not None:
        hierarchy, problem = _hierarchy_of(images, images.class_hierarchy, probing)
    note = (
        f"{FURTHER_SET}methods are evaluated on {images.name!r} as they were fitted on {probing.name!r}: {shared} of "
        f"its {len(images.classes)} classes are among those of the latter; images of others have no label. Metrics "
        f"choose units and fit probes on the probing images of {probing.name!r}."
    )
    return dataclasses.replace(
        images,
        records=records,
        classes=probing.classes,
        class_hierarchy=hierarchy,
        notes=(*images.notes, *([problem] if problem else []), note),
    )


def first_evaluation(images: ImageSet, evaluation: int | float, *, seed: int = 0) -> ImageSet:
    """Return the evaluation images of the set of the fit, with which those of a further set are compared.

    Args:
        images: the set on which methods are fitted.
        evaluation: number of images, or a share.
        seed: seed of the split.

    Raises:
        UserError: if the set cannot be split, or none of these images can be read.
    """
    chosen = images.split(evaluation=evaluation, seed=seed).evaluation
    require_readable(chosen)
    return chosen


def _hierarchy_of(images: ImageSet, hierarchy: ClassHierarchy, probing: ImageSet) -> tuple[ClassHierarchy | None, str]:
    """Return the hierarchy of another set above the classes of the probing images, or None and a note why not."""
    shared = set(probing.classes)
    parent_of: dict[str, str] = {}
    for name, index in zip(images.classes, hierarchy.parent_of, strict=True):
        child = name
        while name in shared and index >= 0 and child not in parent_of:
            parent_of[child] = hierarchy.parents[index]
            child, index = hierarchy.parents[index], hierarchy.above[index]
    try:
        return ClassHierarchy.from_pairs(probing.classes, parent_of), ""
    except HierarchyError as error:
        return None, (
            f"{FURTHER_SET}the class hierarchy of {images.name!r} is left out, since it is not one of the classes of "
            f"{probing.name!r}: {error}"
        )


def _refuse_shared(images: ImageSet, probing: ImageSet) -> None:
    keys = images.contents.keys
    is_shared = np.isin(keys, probing.contents.keys) & (keys != 0)
    if shared := [images.records[index].name for index in np.flatnonzero(is_shared)]:
        raise UserError(
            f"{len(shared)} images of {images.name!r}, such as {shared[0]!r}, are probing images of {probing.name!r}: "
            "evaluate on images that no method was fitted on."
        )
