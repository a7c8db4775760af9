"""Choice of the kinds that are rehearsed, and of the sizes of both shares, within a time budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from harness.doctor.rates import Rates
from harness.doctor.steps import CONSTANT_STEPS, Images, image_steps, job_steps
from harness.doctor.workload import Job
from harness.efficiency.protocol import CPU, CUDA
from harness.rehearsal.kinds import CellKind, Kinds, PassKind, is_quick, layer_of_job, pass_key
from harness.rehearsal.shares import Share, probing_images, reduced_job
from harness.rehearsal.suites import rehearsed_suites
from harness.rehearsal.watching import TIMED_METRICS
from methods import METHODS

#: Share of the budget that the estimate may fill; the rest is for loading networks, and for errors of the estimate.
FILLED = 0.7
#: Share of the budget of the smaller share, on a device that is fast enough to fill it.
FIRST = 0.2
#: Seconds to load a network, and to start and end a run, until they are measured.
RUN_S = 8.0
#: Sizes of the larger share, relative to the smaller one.
FACTORS = (4.0, 3.0, 2.5, 2.0, 1.5)
#: Modes in which the timing protocol runs a split, at most; and the factor for its untimed passes.
MODES, UNTIMED = 3, 2
#: Images of a share at most: more do not make the measurement better.
MOST_IMAGES = 4096


class Choice(NamedTuple):
    """Kinds that are rehearsed, and those that another kind stands for."""

    kinds: list[CellKind]
    stand_ins: dict[str, str]
    """key of a kind that is not rehearsed -> key of the kind of the same method that stands for it"""
    left_out: dict[str, str]
    """key of a kind that nothing stands for -> reason"""


def choose(
    kinds: Kinds, unavailable: dict[str, str], share: Share, rates: Rates, device: str, budget_s: float
) -> Choice:
    """Return the kinds to rehearse: one of each method and set of metrics, one per backbone, others as time allows.

    Args:
        unavailable: key of a kind that cannot run here -> reason.
        budget_s: seconds of both shares together.
    """
    available = [kind for kind in kinds.cells if kind.key not in unavailable]
    carriers = [kind for kind in kinds.carriers if kind.key not in unavailable]
    required = _with_each_backbone(_required(available), kinds.passes, [*available, *carriers])
    chosen = list(required)
    limit = FILLED * budget_s
    spent = seconds_of_both(kinds.passes, chosen, share, rates, device)
    for kind in sorted((kind for kind in available if kind not in required), key=lambda kind: -_cells(kind)):
        more = seconds_of_both(kinds.passes, [*chosen, kind], share, rates, device)
        if more <= max(limit, spent):
            chosen.append(kind)
            spent = more
    in_order = [kind for kind in (*available, *kinds.carriers) if kind in chosen]
    stand_ins = {}
    left_out = dict(unavailable)
    for kind in kinds.cells:
        if kind in in_order:
            continue
        other = stand_in_of(kind, in_order)
        if kind.key not in unavailable and other is not None:
            stand_ins[kind.key] = other.key
        elif kind.key not in unavailable:
            left_out[kind.key] = "the time budget has no room for it"
    return Choice(in_order, stand_ins, left_out)


def stand_in_of(kind: CellKind, chosen: Sequence[CellKind]) -> CellKind | None:
    """Return the chosen kind of the same method and metrics that is most like a kind; None if there is none."""
    job = kind.representative
    alike = [
        other for other in chosen if _method_of(other) == _method_of(kind) and _metrics_of(other) == _metrics_of(kind)
    ]
    shape = layer_of_job(job).d_in, layer_of_job(job).d_out
    return next(
        (o for o in alike if (layer_of_job(o.representative).d_in, layer_of_job(o.representative).d_out) == shape),
        alike[0] if alike else None,
    )


def first_share(kinds: Kinds, rates: Rates, device: str, budget_s: float) -> Share:
    """Return the smaller share: a few images on a CPU, more on a device that computes them within the budget."""
    # Two epochs: a training has a step after its first one, however few the tokens are.
    share = Share("A", 4, 4, 2, _instances(kinds, rates, budget_s), 2, 1)
    required = _with_each_backbone(_required(kinds.cells), kinds.passes, [*kinds.cells, *kinds.carriers])
    while max(share.probing, share.evaluated) < MOST_IMAGES:
        larger = share._replace(probing=2 * share.probing, evaluated=2 * share.evaluated)
        if seconds_of(kinds.passes, required, larger, rates, device) > FIRST * budget_s:
            break
        share = larger
    return share


def second_share(
    first: Share, passes: Sequence[PassKind], kinds: Sequence[CellKind], rates: Rates, device: str, *,
    measured_s: float, left_s: float,
) -> Share:  # fmt: skip
    """Return the larger share: as large as the time left allows, at the speed of the first one.

    Args:
        measured_s: seconds that the first share took.
        left_s: seconds of the budget that are left.
    """
    speed = measured_s / max(seconds_of(passes, kinds, first, rates, device), 1e-9)
    larger = [first.larger(factor, "B") for factor in FACTORS]
    fitting = (share for share in larger if speed * seconds_of(passes, kinds, share, rates, device) <= left_s)
    return next(fitting, larger[-1])


def seconds_of_both(
    passes: Sequence[PassKind], kinds: Sequence[CellKind], share: Share, rates: Rates, device: str
) -> float:
    """Return doctor's estimate of a share and of one twice as large."""
    return sum(seconds_of(passes, kinds, each, rates, device) for each in (share, share.larger(2.0, "B")))


def seconds_of(passes: Sequence[PassKind], kinds: Sequence[CellKind], share: Share, rates: Rates, device: str) -> float:
    """Return doctor's estimate of a share, with the loading of networks and the timing protocol."""
    total = RUN_S * len(rehearsed_suites("", passes, kinds, share))
    fits: set[str] = set()
    for of_backbone in passes:
        members = [kind for kind in kinds if pass_key(kind.sized) == of_backbone.key]
        if not members:
            continue
        images = probing_images(share, members, layer_of_job(members[0].representative))
        sites = {kind.sized.target.site: kind for kind in members}
        for kind in sites.values():
            total += sum(step.seconds for step in image_steps(images_of(kind, share, images), rates))
        for kind in members:
            job = reduced_job(kind.representative, share, images)
            total += _cell_seconds(job._replace(full_fit=kind.fit_key not in fits), share, rates, device)
            fits.add(kind.fit_key)
    return total


def images_of(kind: CellKind, share: Share, images: int) -> Images:
    """Return the sizes of the passes over the images of a kind's target at a share."""
    layer = layer_of_job(kind.representative)
    probing = kind.sized.leaf.probing
    width = 2 if probing.dtype == "float16" else 4
    token_bytes = images * max(1, probing.crops) * layer.tokens * (layer.d_in + layer.d_out) * width
    head = "probe" if kind.sized.target.head == "probe" else None
    baseline = share.evaluated * layer.tokens * layer.d_out * width
    return Images(layer, images, probing.crops, share.evaluated, layer.before, token_bytes, baseline, head, 1000)


def _cell_seconds(job: Job, share: Share, rates: Rates, device: str) -> float:
    layer = layer_of_job(job)
    partial = min(share.neurons, layer.d_out) / layer.d_out
    seconds = sum(
        step.seconds * (partial if step.stage == "clustering" and step.step not in CONSTANT_STEPS else 1.0)
        for step in job_steps(job, rates)
    )
    if job.metrics is not None and set(TIMED_METRICS) & set(job.metrics):
        protocol = CPU if device == "cpu" else CUDA
        batches = MODES * (share.repeats + UNTIMED) * 2 * (2 if protocol.compiled else 1)
        flops = layer.gflops * 1e9 * protocol.batch_size
        seconds += batches * flops / rates[f"network {layer.architecture}"].value
    return seconds


def _required(kinds: Sequence[CellKind]) -> list[CellKind]:
    """Return one kind of each method with each set of metrics, the one of most cells."""
    required: dict[str, CellKind] = {}
    for kind in sorted(kinds, key=lambda kind: -_cells(kind)):
        variant = "" if _is_timed(kind) else _variant(kind)
        required.setdefault(f"{_method_of(kind)} {_metrics_of(kind)} {variant}", kind)
    return list(required.values())


def _with_each_backbone(
    required: Sequence[CellKind], passes: Sequence[PassKind], available: Sequence[CellKind]
) -> list[CellKind]:
    """Return the kinds, with a quick one on each backbone that has none, so that its passes are rehearsed."""
    chosen = list(required)
    for of_backbone in passes:
        if any(pass_key(kind.sized) == of_backbone.key for kind in chosen):
            continue
        on_it = [kind for kind in available if pass_key(kind.sized) == of_backbone.key]
        on_it.sort(key=lambda kind: (not is_quick(kind.representative), len(kind.representative.metrics or ())))
        chosen += on_it[:1]
    return chosen


def _is_timed(kind: CellKind) -> bool:
    return bool(set(TIMED_METRICS) & set(kind.representative.metrics or ()))


def _method_of(kind: CellKind) -> str:
    """Return the method of a kind; where the network is timed, only whether it splits neurons, which has more modes."""
    method = kind.representative.method
    if not _is_timed(kind):
        return method
    return "split" if METHODS.get(method).spec_with(kind.representative.config).family == "split" else "dictionary"


def _variant(kind: CellKind) -> str:
    """Return the settings by which kinds of one method differ in their code, such as UMAP."""
    config = kind.representative.config
    return str([getattr(config, name, None) for name in ("umap_dims", "cluster_selection_method", "backend")])


def _metrics_of(kind: CellKind) -> tuple[str, ...] | None:
    metrics = kind.representative.metrics
    return None if metrics is None else tuple(sorted(metrics))


def _cells(kind: CellKind) -> int:
    return len(kind.jobs)


def _instances(kinds: Kinds, rates: Rates, budget_s: float) -> int:
    """Return the instances per neuron at which two neurons take a hundredth of the budget, at least 500."""
    widest = max((layer_of_job(kind.representative).d_in for kind in kinds.cells), default=1)
    return max(500, int(math.sqrt(0.01 * budget_s * rates["clustering"].value / (2 * 3 * widest))))
