"""Estimate of a suite's cost: cells, disk, GPU time, questions to judges. It is calculated, not measured."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

from harness.identity import canonical
from harness.suites import MethodEntry, Suite, Target
from methods import METHODS
from methods.base import make_config

#: Images (probing, evaluation) of sets whose size is known without reading them; the photographs follow the suite.
IMAGENET = (1_281_167, 50_000)

#: Assumed FLOP/s of an H100: float32 networks with TF32 off, bfloat16 training, split-precision clustering products.
#: As in the specification of a GPU, a multiply-add is two FLOPs. All counts below follow this convention.
FORWARD_FLOPS, TRAINING_FLOPS, CLUSTERING_FLOPS = 35e12, 150e12, 150e12
#: Photographs decoded, cropped and moved to the GPU per second, by 16 cores.
IMAGES_PER_SECOND = 2500.0

#: Setting of the methods that are trained by gradient descent.
EPOCHS_FIELD = "epochs"


class SuiteEstimate(NamedTuple):
    """Cost of a suite. A value is None if it is not known without loading the backbones or reading the images."""

    cells: int
    """cells of the tables, each counted once"""
    sweep_cells: int
    """cells of the sweeps before them"""
    disk_bytes: int | None
    """size of tokens, baselines and their states"""
    gpu_hours: float | None
    judge_calls: int
    """calls of all judges together, controls included; an upper bound, as ties of settings are not known yet"""
    notes: list[str]


def estimate(suite: Suite) -> SuiteEstimate:
    """Estimate the cost of a suite, with each shared cell, token set and baseline counted once."""
    final: dict[str, _Job] = {}
    swept: dict[str, _Job] = {}
    fits: set[str] = set()
    for leaf in suite.leaves:
        for target in leaf.targets:
            _add_jobs(leaf, target, final, swept, fits)
    # A sweep's winner is fitted once: its cell on the first seeds reuses the fit.
    unknown = sorted({job.target.backbone for job in (*final.values(), *swept.values()) if job.layer is None})
    sizes = {canonical(leaf.data.model_dump()): _images(leaf) for leaf in suite.leaves}
    notes = []
    if unknown:
        notes.append(f"Disk and time exclude {', '.join(unknown)}: the layer is unknown until the backbone is loaded.")
    sizes_known = all(size is not None for size in sizes.values())
    if not sizes_known:
        notes.append("No estimate of disk and time: the number of images is unknown until they are read.")
    return SuiteEstimate(
        cells=len(final),
        sweep_cells=len(swept),
        disk_bytes=_disk(suite) if sizes_known else None,
        gpu_hours=_hours(list(final.values()), list(swept.values()), suite) if sizes_known else None,
        judge_calls=sum(_calls(leaf) for leaf in suite.leaves),
        notes=notes,
    )


class _Job(NamedTuple):
    """Cell with the quantities its time depends on."""

    target: Target
    entry: MethodEntry
    layer: Layer | None
    probing: int
    evaluation: int
    full_fit: bool


def _add_jobs(leaf: Suite, target: Target, final: dict[str, _Job], swept: dict[str, _Job], fits: set[str]) -> None:
    from harness.suites.grids import grid

    layer = layer_of(target.backbone, target.site)
    images = _images(leaf) or (0, 0)
    n_tokens = images[0] * _tokens_kept(leaf, layer)
    shared: dict[str, Any] = {"backbone": target.backbone, "site": target.site, "data": leaf.data.model_dump()}
    shared |= {"probing": leaf.probing.model_dump(), "checkpoint": target.checkpoint, "weights": target.weights}
    measured = {"metrics": sorted(leaf.evaluation.metrics or ()), "top": leaf.evaluation.top_images}
    first = leaf.token_seeds_of(target)[0]
    for entry in leaf.methods_of(target):
        method = METHODS.get(entry.name)
        settings = make_config(method, entry.config)
        configured = {"name": entry.name, "config": settings.model_dump(mode="json")}
        if entry.select:
            configured["select"] = leaf.sweep.model_dump()
        for token_seed in leaf.token_seeds_of(target):
            repeats = leaf.repeats_of(target, token_seed)
            for number, init_seed in enumerate(leaf.init_seeds_of(target, token_seed)):
                if number and not method.spec_with(settings).uses_seed and init_seed not in repeats:
                    continue
                key = canonical({**shared, **configured, **measured, "seeds": [token_seed, init_seed]})
                fitted = entry.select and token_seed == first and not number
                # Cells that differ only in their metrics share a fit.
                fit = canonical({**shared, **configured, "seeds": [token_seed, init_seed]})
                final.setdefault(key, _Job(target, entry, layer, n_tokens, images[1], not (fitted or fit in fits)))
                fits.add(fit)
        for point in grid(entry.name, leaf.sweep.grid) if entry.select else ():
            config = make_config(method, {**entry.config, **point}).model_dump(mode="json")
            key = canonical({**shared, "name": entry.name, "config": config, "seed": first})
            swept.setdefault(key, _Job(target, entry, layer, n_tokens, images[1], True))


def _images(leaf: Suite) -> tuple[int, int] | None:
    """Return the numbers of probing and evaluation images, or None if they are not known without reading them."""
    kind, _, identifier = leaf.data.dataset.partition(":")
    if kind == "imagenet":
        return IMAGENET
    if kind != "photos":
        return None
    total = int(identifier) if identifier.isdecimal() else 249
    wanted = leaf.data.evaluation
    evaluated = round(wanted * total) if isinstance(wanted, float) else wanted
    return max(0, total - evaluated), min(total, evaluated)


def _tokens_kept(leaf: Suite, layer: Layer | None) -> int:
    """Return the number of tokens kept per image."""
    available = layer.tokens if layer else 257
    limit = leaf.probing.tokens_per_image
    return max(1, leaf.probing.crops) * (available if limit is None else min(limit, available))


def _disk(suite: Suite) -> int:
    """Return the bytes of all token sets and baselines, each counted once."""
    sets: dict[str, int] = {}
    for leaf in suite.leaves:
        probing, evaluated = _images(leaf) or (0, 0)
        width = 2 if leaf.probing.dtype == "float16" else 4
        for target in leaf.targets:
            layer = layer_of(target.backbone, target.site)
            if layer is None:
                continue
            shared = {"backbone": target.backbone, "site": target.site, "data": leaf.data.model_dump()}
            for seed in leaf.token_seeds_of(target):
                key = canonical({**shared, "probing": leaf.probing.model_dump(), "seed": seed})
                sets[key] = probing * _tokens_kept(leaf, layer) * (layer.d_in + layer.d_out) * width
            # All outputs of the layer, and the float32 states that later passes start from.
            sets[canonical(shared)] = evaluated * layer.tokens * layer.d_out * (width + 4)
    return sum(sets.values())


def _hours(final: list[_Job], swept: list[_Job], suite: Suite) -> float:
    """Return the GPU hours of all forward passes, evaluations and fits."""
    seconds = 0.0
    passes: dict[str, float] = {}
    for leaf in suite.leaves:
        probing, evaluated = _images(leaf) or (0, 0)
        for target in leaf.targets:
            layer = layer_of(target.backbone, target.site)
            if layer is not None:
                views = probing * max(1, leaf.probing.crops) + evaluated
                key = canonical({"backbone": target.backbone, "site": target.site, "data": leaf.data.model_dump()})
                # One pass serves all token seeds; a probe head needs another pass over the probing images.
                times = 2 if target.head == "probe" else 1
                passes[key] = times * views * max(layer.gflops * 1e9 / FORWARD_FLOPS, 1 / IMAGES_PER_SECOND)
    seconds += sum(passes.values())
    for job in (*final, *swept):
        if job.layer is not None:
            seconds += _evaluation(job, job.layer) + (_fit(job, job.layer) if job.full_fit else 0.0)
    return seconds / 3600


def _evaluation(job: _Job, layer: Layer) -> float:
    """Return an upper bound of the seconds to encode and decode every token and run the network on the result."""
    # Encoder and decoder: one multiply-add, two FLOPs, per weight and token each.
    flops = layer.gflops * 1e9 + 4 * layer.tokens * _units(job, layer) * max(layer.d_in, layer.d_out)
    return job.evaluation * flops / FORWARD_FLOPS


def _units(job: _Job, layer: Layer) -> float:
    """Return the number of units; for methods without an expansion factor, 8 per neuron is assumed."""
    config = make_config(METHODS.get(job.entry.name), job.entry.config)
    return float(getattr(config, "expansion_factor", 8)) * layer.d_out


def _fit(job: _Job, layer: Layer) -> float:
    """Return an upper bound of the seconds of one fit."""
    config = make_config(METHODS.get(job.entry.name), job.entry.config)
    if hasattr(config, EPOCHS_FIELD):
        width = layer.d_in if job.entry.name == "transcoder" else layer.d_out
        steps = getattr(config, "k", 1) or 1 if job.entry.name == "matching_pursuit_sae" else 1
        # Three products per weight and token: forward, gradient of the weights, gradient of the input. Each is a
        # multiply-add, two FLOPs, so six FLOPs in total. This is an upper bound: the encoder needs no gradient of its
        # input, and a linear autoencoder takes five FLOPs per weight.
        per_token = 6 * _units(job, layer) * (width + layer.d_out) * steps
        return job.probing * int(getattr(config, EPOCHS_FIELD)) * per_token / TRAINING_FLOPS
    if hasattr(config, "top_k_fraction"):
        instances = getattr(config, "top_k", None) or config.top_k_fraction * job.probing
        # All pairs of instances twice, for every neuron (docs/elude.md); a multiply-add is two FLOPs.
        seconds: float = layer.d_out * 4 * min(instances, job.probing) ** 2 * layer.d_in / CLUSTERING_FLOPS
        return seconds
    return 0.0


def _calls(leaf: Suite) -> int:
    """Return an upper bound of the number of calls of all judges."""
    if leaf.judging is None:
        return 0
    judges = len(leaf.judging.judges) or 3
    total = 0
    for _, group in itertools.groupby(
        sorted(leaf.targets, key=lambda target: (target.backbone, target.site or "")),
        key=lambda target: (target.backbone, target.site),
    ):
        for target in group:
            n = len(leaf.methods_of(target))
            presentations = n * (n - 1) // 2 * leaf.judging.pairs * 2 * len(leaf.token_seeds_of(target))
            total += (presentations + leaf.judging.controls) * judges
    return total


class Layer(NamedTuple):
    """Sizes of a layer and cost of its backbone, as far as an estimate needs them."""

    d_in: int
    d_out: int
    tokens: int
    """tokens per image at the layer, CLS included"""
    gflops: float
    """GFLOPs of one forward pass at 224 px: twice the multiply-adds"""


#: The layers that the shipped suites decompose; of an MLP, the output layer. FLOPs are from the architectures' tables.
_OF_BACKBONE = {
    "dinov2_vits14": Layer(1536, 384, 257, 12.1),
    "dinov2_vitb14": Layer(3072, 768, 257, 46.9),
    "dinov2_vitl14": Layer(4096, 1024, 257, 165.6),
    "dinov2_small_saliency": Layer(1536, 384, 257, 12.1),
    "augreg_vit_base": Layer(3072, 768, 197, 35.1),
    "siglip2_base": Layer(3072, 768, 196, 34.9),
    "convnextv2_base": Layer(4096, 1024, 49, 30.8),
}
_OF_SITE = {
    ("efficientnet_lite0", "conv_head"): Layer(320, 1280, 49, 0.8),
    ("efficientnet_lite0", "blocks.5.3.conv_pwl"): Layer(1152, 192, 49, 0.8),
    ("efficientnet_lite0", "blocks.6.0.conv_pwl"): Layer(1152, 320, 49, 0.8),
}


def layer_of(backbone: str, site: str | None) -> Layer | None:
    """Return the sizes of a layer, or None if they are not known without loading the model."""
    if (backbone, site) in _OF_SITE:
        return _OF_SITE[backbone, site or ""]
    default_layer = _OF_BACKBONE.get(backbone)
    if site is None or site.endswith(".fc2"):
        return default_layer
    if default_layer is not None and site.endswith(".attn.proj"):
        return default_layer._replace(d_in=default_layer.d_out)
    return None
