"""Estimate of a suite's cost: cells, disk, GPU time, questions to judges. It is calculated, not measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from harness.identity import canonical
from harness.suites import MethodEntry, Suite, Target
from methods import METHODS
from methods.base import MethodConfig, Prerequisite, make_config
from methods.file_settings import plain_config
from methods.plugin_calls import calling

#: Images (probing, evaluation) of sets whose size is known without reading them; the photographs follow the suite.
IMAGENET = (1_281_167, 50_000)

#: Assumed FLOP/s of an H100: float32 networks with TF32 off, bfloat16 training, split-precision clustering products.
#: As in the specification of a GPU, a multiply-add is two FLOPs. All counts below follow this convention.
FORWARD_FLOPS, TRAINING_FLOPS, CLUSTERING_FLOPS = 35e12, 150e12, 150e12
#: Photographs decoded, cropped and moved to the GPU per second, by 16 cores.
IMAGES_PER_SECOND = 2500.0


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


class Layer(NamedTuple):
    """Sizes of a layer and cost of its backbone, as far as an estimate needs them."""

    d_in: int
    d_out: int
    tokens: int
    """tokens per image at the layer, CLS included"""
    gflops: float
    """GFLOPs of one forward pass at 224 px: twice the multiply-adds"""


class _SizedTarget(NamedTuple):
    """Target of a suite with what is known about its size; no images if their number is unknown."""

    leaf: Suite
    target: Target
    layer: Layer | None
    probing: int
    evaluated: int
    shared: dict[str, Any]
    """what its forward passes depend on"""


class _Job(NamedTuple):
    """Cell with the quantities its time depends on."""

    method: str
    config: MethodConfig
    layer: Layer | None
    n_tokens: int
    evaluated: int
    full_fit: bool
    prerequisite: Prerequisite | None = None
    """method that is fitted for this fit, if no cell of the suite does it before"""


def estimate(suite: Suite) -> SuiteEstimate:
    """Estimate the cost of a suite, with each shared cell, token set and baseline counted once."""
    targets = [_sized(leaf, target) for leaf in suite.leaves for target in leaf.targets]
    final: dict[str, _Job] = {}
    swept: dict[str, _Job] = {}
    fits: set[str] = set()
    for sized in targets:
        _add_jobs(sized, final, swept, fits)
    unknown = sorted({sized.target.backbone for sized in targets if sized.layer is None})
    notes = []
    if unknown:
        notes.append(f"Disk and time exclude {', '.join(unknown)}: the layer is unknown until the backbone is loaded.")
    sizes_known = all(_images(leaf) is not None for leaf in suite.leaves)
    if not sizes_known:
        notes.append("No estimate of disk and time: the number of images is unknown until they are read.")
    return SuiteEstimate(
        cells=len(final),
        sweep_cells=len(swept),
        disk_bytes=_disk(targets) if sizes_known else None,
        gpu_hours=_hours(targets, [*final.values(), *swept.values()]) if sizes_known else None,
        judge_calls=sum(_calls(leaf) for leaf in suite.leaves),
        notes=notes,
    )


def hours_text(hours: float) -> str:
    """Return a duration in words: "minutes", "2.5 hours", "300 hours", "1.2e+03 years"."""
    years = hours / (24 * 365.25)
    if years >= 10:
        return f"{years:.0f} years" if years < 1000 else f"{years:.2g} years"
    return f"{hours:.0f} hours" if hours >= 10 else f"{hours:.1f} hours" if hours >= 0.1 else "minutes"


def _sized(leaf: Suite, target: Target) -> _SizedTarget:
    shared = {"backbone": target.backbone, "site": target.site, "data": leaf.data.model_dump()}
    return _SizedTarget(leaf, target, layer_of(target.backbone, target.site), *(_images(leaf) or (0, 0)), shared)


def _add_jobs(sized: _SizedTarget, final: dict[str, _Job], swept: dict[str, _Job], fits: set[str]) -> None:
    for entry in sized.leaf.methods_of(sized.target):
        # Settings, claims and prerequisites are code of the method.
        with calling(METHODS, entry.name):
            _add_entry(entry, sized, final, swept, fits)


def _add_entry(
    entry: MethodEntry, sized: _SizedTarget, final: dict[str, _Job], swept: dict[str, _Job], fits: set[str]
) -> None:
    from harness.suites.grids import grid

    leaf, target, layer, probing, evaluated, shared = sized
    n_tokens = probing * _tokens_kept(leaf, layer)
    shared = {**shared, "probing": leaf.probing.model_dump(), "checkpoint": target.checkpoint}
    shared["weights"] = target.weights
    measured = {"metrics": sorted(leaf.evaluation.metrics or ()), "top": leaf.evaluation.top_images}
    first = leaf.token_seeds_of(target)[0]
    method = METHODS.get(entry.name)
    settings = make_config(method, entry.config)
    configured = {"name": entry.name, "config": plain_config(settings)}
    # The properties of trained weights are those of their files, which may have to be downloaded first.
    spec = method.spec if method.spec.fitted_elsewhere else method.spec_with(settings)
    if entry.select:
        configured["select"] = leaf.sweep.model_dump()
    for token_seed in leaf.token_seeds_of(target):
        repeats = leaf.repeats_of(target, token_seed)
        init_seeds = leaf.init_seeds_of(target, token_seed)
        for number, init_seed in enumerate(init_seeds):
            if number and not spec.uses_seed and init_seed not in repeats:
                continue
            # Cells that differ only in their metrics share a fit.
            fit = {**shared, **configured, "seeds": [token_seed, init_seed]}
            # A sweep's winner is fitted once: its cell on the first seeds reuses the fit.
            fitted = (entry.select and token_seed == first and not number) or canonical(fit) in fits
            needed = method.prerequisite(settings)
            needed = _unless_fitted(needed, shared, token_seed, init_seeds[: number + 1], fits)
            job = _Job(entry.name, settings, layer, n_tokens, evaluated, not fitted, None if fitted else needed)
            final.setdefault(canonical({**fit, **measured}), job)
            fits.add(canonical(fit))
    for point in grid(entry.name, leaf.sweep.grid) if entry.select else ():
        config = plain_config(make_config(method, {**entry.config, **point}))
        key = canonical({**shared, "name": entry.name, "config": config, "seed": first})
        swept.setdefault(key, _Job(entry.name, settings, layer, n_tokens, evaluated, True))


def _unless_fitted(
    needed: Prerequisite | None, shared: dict[str, Any], token_seed: int, init_seeds: Sequence[int], fits: set[str]
) -> Prerequisite | None:
    """Return the method whose fit another one needs, unless a cell listed before it has that fit.

    Args:
        init_seeds: those of the run up to that of the fit; a method without a seed is fitted with the first only.
    """
    if needed is None:
        return None
    uses_seed = needed.method.spec_with(needed.config).uses_seed
    identity = {**shared, "name": needed.method.spec.name, "config": plain_config(needed.config)}
    seeds = [token_seed, init_seeds[-1] if uses_seed else init_seeds[0]]
    return None if canonical({**identity, "seeds": seeds}) in fits else needed


def _images(leaf: Suite) -> tuple[int, int] | None:
    """Return the numbers of probing and evaluation images, or None if they are not known without reading them."""
    kind, _, identifier = leaf.data.dataset.partition(":")
    if kind == "imagenet":
        return IMAGENET
    if kind != "photos":
        return None
    total = int(identifier) if identifier.isdecimal() and len(identifier) < 10 else 249
    wanted = leaf.data.evaluation
    evaluated = round(wanted * total) if isinstance(wanted, float) else wanted
    return max(0, total - evaluated), min(total, evaluated)


def _tokens_kept(leaf: Suite, layer: Layer | None) -> int:
    """Return the number of tokens kept per image."""
    available = layer.tokens if layer else 257
    limit = leaf.probing.tokens_per_image
    return max(1, leaf.probing.crops) * (available if limit is None else min(limit, available))


def _disk(targets: Iterable[_SizedTarget]) -> int:
    """Return the bytes of all token sets and baselines, each counted once."""
    sets: dict[str, int] = {}
    for leaf, target, layer, probing, evaluated, shared in targets:
        if layer is None:
            continue
        width = 2 if leaf.probing.dtype == "float16" else 4
        for seed in leaf.token_seeds_of(target):
            key = canonical({**shared, "probing": leaf.probing.model_dump(), "seed": seed})
            sets[key] = probing * _tokens_kept(leaf, layer) * (layer.d_in + layer.d_out) * width
        # All outputs of the layer, and the float32 states that later passes start from.
        sets[canonical(shared)] = evaluated * layer.tokens * layer.d_out * (width + 4)
    return sum(sets.values())


def _hours(targets: Iterable[_SizedTarget], jobs: Iterable[_Job]) -> float:
    """Return the GPU hours of all forward passes, evaluations and fits."""
    passes: dict[str, float] = {}
    for leaf, target, layer, probing, evaluated, shared in targets:
        if layer is not None:
            views = probing * max(1, leaf.probing.crops) + evaluated
            # One pass serves all token seeds; a probe head needs another pass over the probing images.
            times = 2 if target.head == "probe" else 1
            rate = max(layer.gflops * 1e9 / FORWARD_FLOPS, 1 / IMAGES_PER_SECOND)
            passes[canonical(shared)] = times * views * rate
    seconds = sum(passes.values())
    for job in jobs:
        if job.layer is not None:
            seconds += _evaluation(job, job.layer) + (_fit(job, job.layer) if job.full_fit else 0.0)
            if job.prerequisite is not None:
                name, config = job.prerequisite.method.spec.name, job.prerequisite.config
                seconds += _fit(job._replace(method=name, config=config), job.layer)
    return seconds / 3600


def _evaluation(job: _Job, layer: Layer) -> float:
    """Return an upper bound of the seconds to encode and decode every token and run the network on the result."""
    # Encoder and decoder: one multiply-add, two FLOPs, per weight and token each.
    flops = layer.gflops * 1e9 + 4 * layer.tokens * _units(job, layer) * max(layer.d_in, layer.d_out)
    return job.evaluated * flops / FORWARD_FLOPS


def _units(job: _Job, layer: Layer) -> float:
    """Return the number of units; for methods without an expansion factor, 8 per neuron is assumed."""
    return float(getattr(job.config, "expansion_factor", 8)) * layer.d_out


def _fit(job: _Job, layer: Layer) -> float:
    """Return an upper bound of the seconds of one fit."""
    config: Any = job.config
    if hasattr(config, "epochs"):
        width = layer.d_in if job.method == "transcoder" else layer.d_out
        steps = getattr(config, "k", 1) or 1 if job.method == "matching_pursuit_sae" else 1
        # Three products per weight and token: forward, gradient of the weights, gradient of the input. Each is a
        # multiply-add, two FLOPs, so six FLOPs in total. This is an upper bound: the encoder needs no gradient of its
        # input, and a linear autoencoder takes five FLOPs per weight.
        per_token = 6 * _units(job, layer) * (width + layer.d_out) * steps
        return job.n_tokens * int(config.epochs) * per_token / TRAINING_FLOPS
    if hasattr(config, "top_k_fraction"):
        instances = getattr(config, "top_k", None) or config.top_k_fraction * job.n_tokens
        # All pairs of instances twice, for every neuron (docs/elude.md); a multiply-add is two FLOPs.
        seconds: float = layer.d_out * 4 * min(instances, job.n_tokens) ** 2 * layer.d_in / CLUSTERING_FLOPS
        return seconds
    return 0.0


def _calls(leaf: Suite) -> int:
    """Return an upper bound of the number of calls of all judges."""
    if leaf.judging is None:
        return 0
    judges = len(leaf.judging.judges) or 3
    total = 0
    for target in leaf.targets:
        n = len(leaf.methods_of(target))
        presentations = n * (n - 1) // 2 * leaf.judging.pairs * 2 * len(leaf.token_seeds_of(target))
        total += (presentations + leaf.judging.controls) * judges
    return total


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
