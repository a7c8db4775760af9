"""Kinds of work in a plan: cells and passes of one kind take the same time, so that one of them stands for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from harness.doctor.layers import Layer
from harness.doctor.steps import units_of
from harness.doctor.workload import Job, SizedTarget, Workload
from harness.identity import canonical
from harness.suites import MethodEntry
from harness.suites.grids import GRIDS
from methods import METHODS

#: Settings to which the time of a fit is proportional by a known power, or which hardly change it.
SIZE_SETTINGS = ("epochs", "top_k", "top_k_fraction", "min_cluster_size", "min_cluster_fraction", "min_samples")


class PassKind(NamedTuple):
    """Passes over the images through one backbone."""

    key: str
    backbone: str
    targets: tuple[SizedTarget, ...]
    """all targets of the plan with this backbone, in its order"""
    representative: SizedTarget
    """the target that most cells have"""


class CellKind(NamedTuple):
    """Cells whose evaluation takes the same time."""

    key: str
    fit_key: str
    """key of the kind of fit; cells that differ in their metrics share it"""
    title: str
    jobs: tuple[Job, ...]
    representative: Job

    @property
    def entry(self) -> MethodEntry:
        assert self.representative.entry is not None
        return self.representative.entry

    @property
    def sized(self) -> SizedTarget:
        return sized_of(self.representative)

    @property
    def fits(self) -> int:
        """Number of cells that fit their method; the others load a fit."""
        return sum(job.full_fit for job in self.jobs)


class Kinds(NamedTuple):
    """Kinds of a plan."""

    passes: list[PassKind]
    cells: list[CellKind]
    carriers: list[CellKind]
    """one cell for each backbone on which no kind is rehearsed, so that its passes are; without cells of the plan"""
    unknown: list[str]
    """backbones whose layer is unknown until they are loaded; their passes and cells are in no kind"""


def kinds_of(workload: Workload) -> Kinds:
    """Group the passes and cells of a plan by kind; each cell is in exactly one."""
    jobs = [job for job in (*workload.final, *workload.swept) if job.layer is not None]
    counts = Counter(pass_key(sized_of(job)) + site_of(sized_of(job)) for job in jobs)
    by_backbone: dict[str, list[SizedTarget]] = {}
    unknown: dict[str, None] = {}
    for sized in workload.targets:
        if sized.layer is None:
            unknown[sized.target.backbone] = None
        else:
            by_backbone.setdefault(pass_key(sized), []).append(sized)
    passes = [
        PassKind(
            key,
            targets[0].target.backbone,
            tuple(targets),
            max(targets, key=lambda sized: counts[key + site_of(sized)]),
        )
        for key, targets in by_backbone.items()
    ]
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(evaluation_key(job), []).append(job)
    mains = _main_targets(jobs)
    cells = [_kind(key, members, mains) for key, members in groups.items()]
    covered = {pass_key(kind.sized) for kind in cells}
    carriers = [_carrier(of_backbone, cells) for of_backbone in passes if of_backbone.key not in covered]
    return Kinds(passes, cells, [carrier for carrier in carriers if carrier is not None], list(unknown))


def sized_of(job: Job) -> SizedTarget:
    """Return the target of a cell of a plan."""
    assert job.sized is not None
    return job.sized


def layer_of_job(job: Job) -> Layer:
    """Return the layer of a cell of a plan, which is known."""
    assert job.layer is not None
    return job.layer


def pass_key(sized: SizedTarget) -> str:
    """Return the key of the passes of a target: its backbone, head and kind of images."""
    target = sized.target.model_dump(include={"backbone", "checkpoint", "head", "head_settings"})
    probing = sized.leaf.probing.model_dump(include={"crops", "dtype"})
    return canonical({**target, **probing, "probing": sized.probing, "evaluated": sized.evaluated})


def site_of(sized: SizedTarget) -> str:
    """Return the name of a target's site; empty for the backbone's default."""
    return sized.target.site or ""


def fit_key(job: Job) -> str:
    """Return the key of a fit: shape of the layer, method, and the settings that are neither sizes nor swept."""
    layer = layer_of_job(job)
    left_out = {*SIZE_SETTINGS, *GRIDS.get(job.method, {})}
    settings = {key: value for key, value in job.config.model_dump(mode="json").items() if key not in left_out}
    shape = [layer.d_in, layer.d_out]
    return canonical({"method": job.method, "settings": settings, "shape": shape, "units": units_of(job, layer)})


def evaluation_key(job: Job) -> str:
    """Return the key of a cell: its fit, metrics, and whether the network runs."""
    metrics = None if job.metrics is None else sorted(job.metrics)
    top_images = sized_of(job).leaf.evaluation.top_images
    return canonical({"fit": fit_key(job), "metrics": metrics, "top": top_images, "network": job.runs_network})


def _main_targets(jobs: Iterable[Job]) -> dict[tuple[int, int], str]:
    """Return, for each shape of a layer, the target (its passes and site) that most cells of that shape have."""
    counts: dict[tuple[int, int], Counter[str]] = {}
    for job in jobs:
        layer = layer_of_job(job)
        counts.setdefault((layer.d_in, layer.d_out), Counter())[_place(job)] += 1
    return {shape: counter.most_common(1)[0][0] for shape, counter in counts.items()}


def _place(job: Job) -> str:
    sized = sized_of(job)
    return pass_key(sized) + site_of(sized)


def _kind(key: str, jobs: Sequence[Job], mains: dict[tuple[int, int], str]) -> CellKind:
    """Return the kind of some cells; its representative is on the main target of its shape, if any is."""
    layer = layer_of_job(jobs[0])
    places = Counter(map(_place, jobs))
    main = mains[layer.d_in, layer.d_out]
    chosen = main if main in places else places.most_common(1)[0][0]
    on_it = [job for job in jobs if _place(job) == chosen]
    # The largest fit of the kind: extrapolating from it to the others is going down.
    representative = next((job for job in on_it if job.full_fit), on_it[0])
    return CellKind(key, fit_key(representative), _title(representative), tuple(jobs), representative)


def _carrier(passes: PassKind, kinds: Sequence[CellKind]) -> CellKind | None:
    """Return a cell on a backbone that no kind represents, one without training if there is any."""
    jobs = [(job, kind) for kind in kinds for job in kind.jobs if pass_key(sized_of(job)) == passes.key]
    on_site = [(job, kind) for job, kind in jobs if sized_of(job).target.site == passes.representative.target.site]
    by_cost = sorted(on_site or jobs, key=lambda pair: (not is_quick(pair[0]), len(pair[0].metrics or ())))
    if not by_cost:
        return None
    job, kind = by_cost[0]
    title = f"{_title(job)}, for the passes of {passes.backbone}"
    return CellKind(f"{kind.key} on {passes.key}", kind.fit_key, title, (), job)


def is_quick(job: Job) -> bool:
    """Return whether a method is neither trained nor clustered."""
    return METHODS.get(job.method).spec_with(job.config).training_free and not hasattr(job.config, "top_k_fraction")


def _title(job: Job) -> str:
    layer = layer_of_job(job)
    entry = job.entry
    name = (entry.label if entry is not None else None) or METHODS.get(job.method).spec_with(job.config).title
    metrics = "" if job.metrics is None else f", {len(job.metrics)} metrics"
    return f"{name}, {layer.d_in} to {layer.d_out}, {units_of(job, layer):.0f} units{metrics}"
