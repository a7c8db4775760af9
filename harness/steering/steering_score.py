"""Steering score of a method: does amplifying the units of a class raise that class, and leave other images alone?

For each class c of the images, the kappa units with the highest AUROC for c on the *probing* images are scaled by
alpha, at the patches where they are most active, on the *evaluation* images. With the measures of
:mod:`harness.steering.effects`,

    gain(alpha) = mean rise of the log-odds of c over the images of c,
    collateral(alpha) = mean KL(before || after) over the images of other classes,
    net(alpha) = gain - collateral, less the same with random units,
    score of c = mean of net over log alpha (trapezoids),    score = mean over classes, in nats.

Methods that make larger changes with the same alpha can gain more, so the size of the change is a score of its own.
The random units are drawn for each image among its other units that are active on it, so they amplify what the image
shows too; their change has the norm of the change that they stand in for. The gains of several draws are averaged. The
score of random units against other draws of them is 0 in expectation, since they are exchangeable. The standard error
is that of the mean over classes, whose draws are independent: it is about other classes of the kind, and includes the
draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.activations.interventions import edit_of, require_editable
from harness.errors import UserError
from harness.identity import seed_of
from harness.stats.class_auroc import class_auroc
from harness.stats.log_mean import log_weights
from harness.steering.effects import divergence, target_gain
from harness.steering.steered_passes import SteeredPasses
from harness.steering.stored_layers import StoredLayer
from harness.steering.unit_activations import unit_activations
from methods.base import Method, Progress, no_progress
from results import ScoreRecord

VERSION = 1
#: Fewest images of a class in each split, and fewest classes of a score.
FEWEST_IMAGES, FEWEST_CLASSES = 3, 2


class ScoreSettings(NamedTuple):
    """Settings of the score; rows that differ in them are not ranked together."""

    kappa: int = 50
    """units per class"""
    alphas: tuple[float, ...] = (2.0, 5.0, 20.0)
    """factors, ascending, above 1"""
    patches: int | None = 50
    controls: int = 3
    """draws of random units for each image and class"""
    seed: int = 0
    """of the random units, and of the classes if there are more"""
    classes: int = 20
    """most classes"""
    images: int = 1000
    """most evaluation images; half of them of the classes, as many of each, and half of all images"""


class ClassEffect(NamedTuple):
    """Effect of steering one class."""

    name: str
    units: tuple[int, ...]
    score: float
    """nats"""
    gain: float
    """mean over log alpha"""
    collateral: float
    random_gain: float
    random_collateral: float
    change: float
    """norm of the change of the layer's output, as a fraction of that of the output; mean over images and log alpha"""


class ClassTargets(NamedTuple):
    """Classes of the images that can be steered, and the classes of the head that stand for each."""

    labels: tuple[int, ...]
    """number of each class of the images"""
    masks: Tensor
    """(n, n_head_classes) bool"""


def class_targets(layer: StoredLayer, settings: ScoreSettings, progress: Progress = no_progress) -> ClassTargets:
    """Return the classes with enough images in both splits, and their classes of the head.

    Of more than the settings allow, some are drawn.

    If the head has the classes of the images, a class stands for itself. Otherwise each class of the head stands for
    the class of the images in which its mean probability on the probing images is largest.

    Raises:
        UserError: if there are fewer than two such classes.
    """
    probing, evaluation = layer.prepared.probing, layer.prepared.evaluation
    head = layer.baseline.head
    n_head = int(layer.baseline.logits.shape[1])
    counts = [
        np.bincount(each.labels[each.labels >= 0], minlength=len(probing.classes)) for each in (probing, evaluation)
    ]
    labels = [number for number in range(len(probing.classes)) if min(each[number] for each in counts) >= FEWEST_IMAGES]
    masks = torch.zeros(len(labels), n_head, dtype=torch.bool)
    if head.class_index is not None:
        for row, number in enumerate(labels):
            if (index := int(head.class_index[number])) >= 0:
                masks[row, index] = True
    elif labels:
        image, logits = [], []
        for passed in layer.probing_passes().run(lambda q, a: None):
            with torch.inference_mode():
                logits.append(torch.softmax(head.logits(passed.features).float(), 1).cpu())
            image.append(passed.image)
            progress(sum(map(len, image)), len(probing), "probing images, for the classes of the head")
        probability, of_image = torch.cat(logits), torch.from_numpy(probing.labels)[torch.cat(image)]
        means = torch.stack([probability[of_image == number].mean(0) for number in labels])
        masks = means.nan_to_num(nan=-1.0).argmax(0)[None] == torch.arange(len(labels))[:, None]
    usable = masks.any(1) & ~masks.all(1)
    if int(usable.sum()) < FEWEST_CLASSES:
        raise UserError(
            f"The steering score needs {FEWEST_CLASSES} classes with at least {FEWEST_IMAGES} images in each split, "
            f"which the head can predict, and {evaluation.name!r} has {int(usable.sum())}: use images in a folder per "
            "class."
        )
    rows = usable.nonzero()[:, 0]
    if len(rows) > settings.classes:
        generator = torch.Generator().manual_seed(seed_of("classes of the steering score", settings.seed))
        rows = rows[torch.randperm(len(rows), generator=generator)[: settings.classes]].sort().values
    return ClassTargets(tuple(labels[row] for row in rows.tolist()), masks[rows])


def score_images(layer: StoredLayer, targets: ClassTargets, settings: ScoreSettings) -> np.ndarray | None:
    """Return the evaluation images of the score, (n,) ascending; None for all of them."""
    readable, labels = layer.baseline.index, layer.prepared.evaluation.labels
    if len(readable) <= settings.images:
        return None
    half = settings.images // 2
    # Evenly spaced: images lie in the order of their classes.
    chosen = [readable[np.unique(np.linspace(0, len(readable) - 1, half).astype(int))]]
    for number in targets.labels:
        of_class = readable[labels[readable] == number]
        chosen.append(of_class[: half // len(targets.labels)])
    return np.unique(np.concatenate(chosen))


def class_effects(
    layer: StoredLayer,
    method: Method,
    targets: ClassTargets,
    settings: ScoreSettings,
    *,
    random_units: bool = False,
    progress: Progress = no_progress,
) -> list[ClassEffect]:
    """Measure the effect of steering each class.

    Args:
        layer: the layer.
        method: a fitted method of it.
        targets: its :func:`class_targets`.
        settings: settings of the score.
        random_units: put other draws of random units in place of those of each class, to check that the score is 0.
        progress: receives the progress.

    Raises:
        UserError: if the method is virtual, or a setting is invalid.
    """
    require_editable(method)
    require_settings(settings)
    units = units_of_classes(layer, method, targets, settings, progress)
    passes = SteeredPasses(layer, method, score_images(layer, targets, settings))
    clean = passes.clean(progress)
    labels = torch.from_numpy(layer.prepared.evaluation.labels)[torch.from_numpy(clean.image)]
    effects = []
    for row, (number, mask) in enumerate(zip(targets.labels, targets.masks, strict=True)):
        inside, outside = labels == number, (labels != number) & (labels >= 0)
        of_class = SteeredPasses(layer, method, clean.image[inside.numpy()])
        curves = np.zeros((5, len(settings.alphas)))
        for column, alpha in enumerate(settings.alphas):
            edit = edit_of(units[row], [], alpha=alpha, gamma=1.0, patches=settings.patches)
            edited, touched = passes.edited(edit, progress)
            curves[4, column] = float(touched.change.mean())
            for half in range(2 if random_units else 1):
                draws = range(half * settings.controls, (half + 1) * settings.controls)
                first, *others = (seed_of("steering score", settings.seed, number, draw) for draw in draws)
                control = passes.control(edit, touched.size, first, progress)
                # Without random units there is nothing to compare with.
                near, far = inside & ~control.missing, outside & ~control.missing
                gains = [target_gain(clean.logits[near], control.logits[near], mask)]
                # The draw matters for the gain; the collateral change hardly varies with it.
                for seed in others if bool(near.any()) else ():  # without images of the class it is left out below
                    again = of_class.control(edit, touched.size[inside], seed, progress).logits[near[inside]]
                    gains.append(target_gain(clean.logits[near], again, mask))
                changed = divergence(clean.logits[far], control.logits[far])
                curves[2 - 2 * half : 4 - 2 * half, column] = float(torch.stack(gains).mean()), float(changed.mean())
            if not random_units:
                rise = target_gain(clean.logits[near], edited.logits[near], mask)
                changed = divergence(clean.logits[far], edited.logits[far])
                curves[:2, column] = float(rise.mean()), float(changed.mean())
        if not np.isfinite(curves).all():
            continue  # no readable image of the class, or none with random units
        gain, side, random_gain, random_side, change = (over_log(settings.alphas, curve) for curve in curves)
        score = (gain - side) - (random_gain - random_side)
        name = layer.prepared.evaluation.classes[number]
        effects.append(ClassEffect(name, tuple(units[row]), score, gain, side, random_gain, random_side, change))
    if len(effects) < FEWEST_CLASSES:
        raise UserError(
            f"Only {len(effects)} classes have readable images on which other units of {method.spec.name} are active "
            f"beside those of the class, and the steering score needs {FEWEST_CLASSES}: use fewer units (--kappa)."
        )
    return effects


def over_log(alphas: Sequence[float], values: Sequence[float] | np.ndarray) -> float:
    """Return the mean of values over log alpha by trapezoids; the value itself for one alpha."""
    return float(np.dot(log_weights(alphas), values))


def score_records(effects: Sequence[ClassEffect], settings: ScoreSettings) -> list[ScoreRecord]:
    """Return the scores ``steering_effect``, ``steering_gain``, ``steering_collateral`` and ``steering_change``."""
    n = len(effects)
    params = {**settings._asdict(), "alphas": list(settings.alphas)}
    details = {"by_class": [{**effect._asdict(), "units": list(effect.units)} for effect in effects]}
    columns = {
        "steering_effect": ([effect.score for effect in effects], "higher", "nats", details),
        "steering_gain": ([effect.gain - effect.random_gain for effect in effects], "none", "nats", None),
        "steering_collateral": (
            [effect.collateral - effect.random_collateral for effect in effects],
            "none",
            "nats",
            None,
        ),
        "steering_change": ([effect.change for effect in effects], "none", "fraction", None),
    }
    records = []
    for metric, (values, direction, unit, more) in columns.items():
        error = float(np.std(values, ddof=1) / math.sqrt(n)) if n > 1 else None
        records.append(
            ScoreRecord(
                metric=metric,
                version=VERSION,
                params=params,
                value=float(np.mean(values)),
                uncertainty=error,
                uncertainty_kind=None if error is None else "classes",
                n=n,
                unit=unit,
                direction=direction,
                details=more,
            )
        )
    return records


def units_of_classes(
    layer: StoredLayer,
    method: Method,
    targets: ClassTargets,
    settings: ScoreSettings,
    progress: Progress,
) -> list[list[int]]:
    """Return up to kappa units per class, from the probing images."""
    activations = unit_activations(method, layer, "probing", progress=progress)
    labels = torch.from_numpy(layer.prepared.probing.labels)[torch.from_numpy(activations.image)]
    is_labelled = labels >= 0
    values, members = activations.values[is_labelled], labels[is_labelled, None] == torch.tensor(targets.labels)[None]
    alive = (values > 0).any(0)
    scores = class_auroc(values, members)
    scores[~alive] = -torch.inf
    chosen = []
    for column in scores.T:
        order = column.nan_to_num(nan=-torch.inf).argsort(descending=True, stable=True)[: settings.kappa]
        chosen.append([unit for unit in order.tolist() if float(column[unit]) > 0.5])
    return chosen


def require_settings(settings: ScoreSettings) -> None:
    """Raise UserError unless the settings can be used."""
    alphas = settings.alphas
    if (
        not isinstance(alphas, tuple | list)
        or not alphas
        or sorted(set(alphas)) != list(alphas)
        or not all(math.isfinite(x) and x > 1 for x in alphas)
    ):
        raise UserError(
            f"alphas = {alphas}: give different finite factors above 1 in ascending order, such as 2, 5, 20."
        )
    counts = {name: getattr(settings, name) for name in ("kappa", "classes", "images", "controls")}
    counts |= {} if settings.patches is None else {"patches": settings.patches}
    for name, value in counts.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UserError(f"{name} = {value!r}: give a whole number from 1.")
