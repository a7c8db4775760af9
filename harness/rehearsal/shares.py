"""Shares of a plan: the sizes of a rehearsal, and the plan's own settings at these sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from harness.doctor.layers import Layer
from harness.doctor.steps import units_of
from harness.doctor.workload import Job
from harness.rehearsal.kinds import CellKind, layer_of_job, sized_of
from harness.suites.tiny import nested_methods
from methods import METHODS
from methods.base import MethodConfig, make_config

#: Methods that need at least one token per unit.
ONE_TOKEN_PER_UNIT = ("archetypal_sae", "pca", "ica", "nmf", "kmeans")


class Share(NamedTuple):
    """Sizes of one part of a rehearsal."""

    label: str
    probing: int
    """probing images, unless a method needs the tokens of more"""
    evaluated: int
    """evaluation images"""
    epochs: int
    instances: int
    """instances per neuron of ELUDe, at most"""
    neurons: int
    """neurons of ELUDe that are clustered"""
    repeats: int
    """pairs of batches of the timing protocol, at most"""

    def larger(self, factor: float, label: str) -> Share:
        """Return a share that is larger by a factor; instances by its root, since their time is quadratic."""
        return Share(
            label,
            math.ceil(self.probing * factor),
            max(self.evaluated + 1, round(self.evaluated * factor)),
            max(self.epochs + 1, round(self.epochs * factor)),
            math.ceil(self.instances * factor**0.5),
            self.neurons,
            max(self.repeats + 1, round(self.repeats * factor)),
        )


def probing_images(share: Share, kinds: list[CellKind], layer: Layer) -> int:
    """Return the number of probing images of a backbone, whose tokens are all kept: enough for each of its methods."""
    needed = max((fewest_tokens(kind.representative, share) for kind in kinds), default=0)
    per_image = layer.tokens * max(1, kinds[0].sized.leaf.probing.crops) if kinds else layer.tokens
    images = max(share.probing, math.ceil(needed / per_image), 2)
    # Where tokens decide, a larger share has more images as well.
    return images if share.label == "A" or images == share.probing else math.ceil(1.25 * images)


def fewest_tokens(job: Job, share: Share) -> int:
    """Return the number of tokens that a fit needs at least: one per unit, or the instances of a neuron."""
    if job.method in ONE_TOKEN_PER_UNIT:
        return math.ceil(units_of(job, layer_of_job(job)))
    return math.ceil(min(instances_of(job.config, job.n_tokens), share.instances))


def tokens_of_image(job: Job) -> int:
    """Return the number of tokens of a probing image if all are kept."""
    return layer_of_job(job).tokens * max(1, sized_of(job).leaf.probing.crops)


def reduced(name: str, config: Mapping[str, Any], share: Share, n_tokens: int, plan_tokens: int) -> dict[str, Any]:
    """Return settings of a method at a share: fewer epochs and instances; clusters in proportion.

    Args:
        n_tokens: probing tokens of the share.
        plan_tokens: probing tokens of the plan, of which ``top_k_fraction`` is a fraction.
    """
    fields = METHODS.get(name).Config.model_fields
    full = {**{key: field.default for key, field in fields.items()}, **config}
    small = dict(config)
    if _is_number(full.get("epochs")):
        small["epochs"] = min(share.epochs, full["epochs"])
    # The batches are the plan's as far as there are tokens: some costs are per step, whatever the batch.
    if _is_number(full.get("batch_size")) and full["batch_size"] > n_tokens:
        small["batch_size"] = n_tokens
    if "top_k" in fields and "top_k_fraction" in fields:
        instances = full["top_k"] or round(full["top_k_fraction"] * plan_tokens)
        small["top_k"] = min(instances, share.instances, n_tokens)
        ratio = small["top_k"] / instances
        for key, least in (("min_cluster_size", 2), ("min_samples", 1)):
            if _is_number(full.get(key)):
                small[key] = min(small["top_k"], max(least, round(full[key] * ratio)))
    for key, (inner, values) in nested_methods(config).items():
        small[key] = {"name": inner, "config": reduced(inner, values, share, n_tokens, plan_tokens)}
    return small


def reduced_job(job: Job, share: Share, n_images: int) -> Job:
    """Return a cell of the plan at a share, for doctor's estimate of it.

    Args:
        n_images: probing images of its backbone.
    """
    n_tokens = n_images * tokens_of_image(job)
    entry = job.entry
    given = entry.config if entry is not None else job.config.model_dump()
    config = make_config(METHODS.get(job.method), reduced(job.method, given, share, n_tokens, job.n_tokens))
    return job._replace(config=config, n_tokens=n_tokens, evaluated=share.evaluated, full_fit=True)


def instances_of(config: MethodConfig, n_tokens: int) -> float:
    """Return the number of instances per neuron of ELUDe; 0 for another method."""
    fraction, top_k = (getattr(config, name, None) for name in ("top_k_fraction", "top_k"))
    if not isinstance(fraction, int | float):
        return 0.0
    return min(float(top_k) if isinstance(top_k, int) else fraction * n_tokens, float(n_tokens))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
