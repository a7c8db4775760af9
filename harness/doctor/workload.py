"""Work of a suite in sizes: its layers, token sets and cells, each shared one counted once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from harness.datasets.synthetic import counts_of
from harness.doctor.layers import Layer, layer_of
from harness.identity import canonical
from harness.metrics.base import METRICS
from harness.suites import MethodEntry, Suite, Target
from methods import METHODS
from methods.base import MethodConfig, MethodSpec, Prerequisite, make_config
from methods.file_settings import plain_config
from methods.plugin_calls import calling

#: Images (probing, evaluation) of sets whose size is known without reading them; the photographs follow the suite.
IMAGENET = (1_281_167, 50_000)

#: Metrics of the cells of a sweep.
SWEEP_METRICS = ("l0", "r2")


class SizedTarget(NamedTuple):
    """Target of a suite with what is known about its size; no images if their number is unknown."""

    leaf: Suite
    target: Target
    layer: Layer | None
    probing: int
    evaluated: int
    shared: dict[str, Any]
    """what its forward passes depend on"""


class Job(NamedTuple):
    """Cell with the quantities its time depends on."""

    method: str
    config: MethodConfig
    layer: Layer | None
    n_tokens: int
    evaluated: int
    full_fit: bool
    prerequisite: Prerequisite | None = None
    """method that is fitted for this fit, if no cell of the suite does it before"""
    n_units: int | None = None
    """number of units, of a fit that has been made"""
    sized: SizedTarget | None = None
    """target of the cell; None for a cell of a run, whose target is loaded"""
    entry: MethodEntry | None = None
    """method as the suite lists it"""
    metrics: tuple[str, ...] | None = None
    """metrics of the cell; None: those that a suite measures by default"""
    runs_network: bool = True
    """False if the cell is measured on the stored outputs of the layer (:func:`harness.cells.evaluate.evaluate`)"""
    reads_input: bool = True
    """False if the method encodes the output of the layer"""
    stored_bytes: int = 4
    """bytes per value of the stored outputs"""


class Workload(NamedTuple):
    """Targets and cells of a suite."""

    targets: list[SizedTarget]
    final: list[Job]
    """cells of the tables"""
    swept: list[Job]
    """cells of the sweeps before them"""
    sizes_known: bool
    """False if the number of images is unknown until they are read"""


def workload_of(suite: Suite) -> Workload:
    """Return the work of a suite; no backbone is loaded and no image is read."""
    targets = sized_targets(suite)
    final: dict[str, Job] = {}
    swept: dict[str, Job] = {}
    fits: set[str] = set()
    for sized in targets:
        _add_jobs(sized, final, swept, fits)
    return Workload(targets, list(final.values()), list(swept.values()), sizes_known(suite))


def trained_methods(suite: Suite) -> list[str]:
    """Return the names of the methods of a suite that are trained on batches of tokens, without prerequisites."""
    names = {entry.name: None for leaf in suite.leaves for target in leaf.targets for entry in leaf.methods_of(target)}
    trained = []
    for name in names:
        with calling(METHODS, name):
            fields = METHODS.get(name).Config.model_fields
            if {"epochs", "batch_size", "expansion_factor"} <= set(fields):
                trained.append(name)
    return trained


def sizes_known(suite: Suite) -> bool:
    """Return False if the number of images of a suite is unknown until they are read."""
    return all(_images(leaf) is not None for leaf in suite.leaves)


def sized_targets(suite: Suite) -> list[SizedTarget]:
    """Return the targets of all leaves of a suite with their sizes."""
    return [_sized(leaf, target) for leaf in suite.leaves for target in leaf.targets]


def target_key(leaf: Suite, target: Target) -> str:
    """Return the key of a target's files in the cache: its layer, images and sampling."""
    layer = target.model_dump(include={"backbone", "site", "checkpoint", "weights", "head", "head_settings"})
    seeds = leaf.token_seeds_of(target)
    probing = leaf.probing.model_dump()
    return canonical({"target": layer, "data": leaf.data.model_dump(), "probing": probing, "seeds": list(seeds)})


def value_bytes(leaf: Suite) -> int:
    """Return the bytes per stored value of tokens and outputs."""
    return 2 if leaf.probing.dtype == "float16" else 4


def runs_network(spec: MethodSpec, metrics: Iterable[str] | None) -> bool:
    """Return False if a method is measured without the network: it reads outputs, and so do all of its metrics.

    Args:
        metrics: names of the metrics; None: those that a suite measures by default.
    """
    if spec.reads == "input" or metrics is None:
        return True
    listed = METRICS.names()
    return any(name not in listed or METRICS.get(name).needs_network for name in metrics)


def _sized(leaf: Suite, target: Target) -> SizedTarget:
    shared = {"backbone": target.backbone, "site": target.site, "data": leaf.data.model_dump()}
    return SizedTarget(leaf, target, layer_of(target.backbone, target.site), *(_images(leaf) or (0, 0)), shared)


def _add_jobs(sized: SizedTarget, final: dict[str, Job], swept: dict[str, Job], fits: set[str]) -> None:
    for entry in sized.leaf.methods_of(sized.target):
        # Settings, claims and prerequisites are code of the method.
        with calling(METHODS, entry.name):
            _add_entry(entry, sized, final, swept, fits)


def _add_entry(
    entry: MethodEntry, sized: SizedTarget, final: dict[str, Job], swept: dict[str, Job], fits: set[str]
) -> None:
    from harness.suites.grids import grid

    leaf, target, layer, probing, evaluated, shared = sized
    n_tokens = probing * tokens_kept(leaf, layer)
    shared = {**shared, "probing": leaf.probing.model_dump(), "checkpoint": target.checkpoint}
    shared["weights"] = target.weights
    measured = {"metrics": sorted(leaf.evaluation.metrics or ()), "top": leaf.evaluation.top_images}
    first = leaf.token_seeds_of(target)[0]
    method = METHODS.get(entry.name)
    settings = make_config(method, entry.config)
    configured = {"name": entry.name, "config": plain_config(settings)}
    # The properties of trained weights are those of their files, which may have to be downloaded first.
    spec = method.spec if method.spec.fitted_elsewhere else method.spec_with(settings)
    common: dict[str, Any] = {"reads_input": spec.reads == "input", "stored_bytes": value_bytes(leaf)}
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
            job = Job(
                entry.name,
                settings,
                layer,
                n_tokens,
                evaluated,
                not fitted,
                None if fitted else needed,
                sized=sized,
                entry=entry,
                metrics=leaf.evaluation.metrics,
                runs_network=runs_network(spec, leaf.evaluation.metrics),
                **common,
            )
            final.setdefault(canonical({**fit, **measured}), job)
            fits.add(canonical(fit))
    for point in grid(entry.name, leaf.sweep.grid) if entry.select else ():
        config = plain_config(make_config(method, {**entry.config, **point}))
        key = canonical({**shared, "name": entry.name, "config": config, "seed": first})
        network = runs_network(spec, SWEEP_METRICS)
        job = Job(
            entry.name,
            settings,
            layer,
            n_tokens,
            evaluated,
            True,
            sized=sized,
            entry=entry,
            metrics=SWEEP_METRICS,
            runs_network=network,
            **common,
        )
        swept.setdefault(key, job)


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
    if kind == "synthetic":
        return counts_of(identifier)
    if kind != "photos":
        return None
    total = int(identifier) if identifier.isdecimal() and len(identifier) < 10 else 249
    wanted = leaf.data.evaluation
    evaluated = round(wanted * total) if isinstance(wanted, float) else wanted
    return max(0, total - evaluated), min(total, evaluated)


def tokens_kept(leaf: Suite, layer: Layer | None) -> int:
    """Return the number of tokens kept per image."""
    available = layer.tokens if layer else 257
    limit = leaf.probing.tokens_per_image
    return max(1, leaf.probing.crops) * (available if limit is None else min(limit, available))
