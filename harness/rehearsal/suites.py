"""Suites of a rehearsal: one cell per kind of work of a plan, at its real shapes, with random weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from harness.doctor.steps import units_of
from harness.rehearsal.kinds import CellKind, PassKind, layer_of_job, pass_key
from harness.rehearsal.shares import Share, probing_images, reduced, tokens_of_image
from harness.suites import MethodEntry, Suite, parse_suite
from results.rehearsals import DATASET


class RehearsedSuite(NamedTuple):
    """Suite without parts of a rehearsal: the cells of one backbone with the same metrics."""

    suite: Suite
    passes: PassKind
    kinds: dict[str, CellKind]
    """label of a cell -> its kind"""
    probing: int
    """probing images"""
    is_stability: bool = False
    """True if its cells are there to be compared, and represent no kind"""


def rehearsed_suites(
    name: str, passes: Sequence[PassKind], kinds: Sequence[CellKind], share: Share
) -> list[RehearsedSuite]:
    """Return the suites of a share, backbone by backbone; cells that make a fit come before those that load it.

    Args:
        name: name of the suite that is rehearsed.
        passes: passes of the plan; a backbone without a cell among ``kinds`` is left out.
        kinds: kinds of cells that are rehearsed.
    """
    suites = []
    labels = {kind.key: f"{number + 1}: {kind.title}" for number, kind in enumerate(kinds)}
    for of_backbone in passes:
        on_backbone = [kind for kind in kinds if pass_key(kind.sized) == of_backbone.key]
        images = probing_images(share, on_backbone, layer_of_job(on_backbone[0].representative)) if on_backbone else 0
        for group in _groups(on_backbone):
            suite = _suite(name, of_backbone, group, labels, share, images)
            suites.append(RehearsedSuite(suite, of_backbone, {labels[kind.key]: kind for kind in group}, images))
    return suites


def stability_suite(
    name: str, passes: Sequence[PassKind], kinds: Sequence[CellKind], share: Share
) -> RehearsedSuite | None:
    """Return a suite of one method that needs no training, with two seeds, whose units are then matched.

    It is on the layer that most kinds are on, and has the units of the largest of them.
    """
    with_cells = [kind for kind in kinds if kind.jobs]
    if not with_cells:
        return None
    places = Counter(pass_key(kind.sized) for kind in with_cells)
    [(place, _)] = places.most_common(1)
    of_backbone = next(each for each in passes if each.key == place)
    members = [kind for kind in with_cells if pass_key(kind.sized) == place]
    shapes = Counter(layer_of_job(kind.representative).d_out for kind in members)
    [(width, _)] = shapes.most_common(1)
    usual = Counter(units_of(kind.representative, layer_of_job(kind.representative)) for kind in members)
    factor = max(1, round(usual.most_common(1)[0][0] / width))
    first = members[0]
    images = probing_images(share, members, layer_of_job(first.representative))
    rehearsed = _suite(name, of_backbone, [first], {first.key: "stability"}, share, images)
    [target] = rehearsed.targets
    entry = MethodEntry(name="random_dictionary", label="matched twice", config={"expansion_factor": factor})
    seeds = rehearsed.seeds.model_copy(update={"init": (1, 2)})
    evaluation = rehearsed.evaluation.model_copy(update={"metrics": ("l0", "r2")})
    changed = rehearsed.model_copy(
        update={
            "name": f"rehearsal of {name}, share {share.label}: stability",
            "targets": (target.model_copy(update={"methods": (entry,)}),),
            "seeds": seeds,
            "evaluation": evaluation,
        }
    )
    return RehearsedSuite(changed, of_backbone, {"stability": first}, images, is_stability=True)


def _groups(kinds: Iterable[CellKind]) -> list[list[CellKind]]:
    """Return the kinds by their metrics; the most metrics first, and timed ones last."""
    groups: dict[Any, list[CellKind]] = {}
    for kind in kinds:
        leaf = kind.sized.leaf
        metrics = kind.representative.metrics
        groups.setdefault((metrics, leaf.evaluation.top_images, leaf.evaluation.batch_size), []).append(kind)

    def order(item: tuple[Any, list[CellKind]]) -> tuple[bool, int]:
        metrics = item[0][0]
        return metrics is not None and "efficiency_ratio" in metrics, -1_000 if metrics is None else -len(metrics)

    return [group for _, group in sorted(groups.items(), key=order)]


def _suite(
    name: str, passes: PassKind, kinds: list[CellKind], labels: dict[str, str], share: Share, images: int
) -> Suite:
    leaf = kinds[0].sized.leaf
    by_site: dict[str | None, list[CellKind]] = {}
    for kind in kinds:
        by_site.setdefault(kind.sized.target.site, []).append(kind)
    targets = []
    for of_site in by_site.values():
        target = of_site[0].sized.target
        targets.append(
            {
                **target.model_dump(include={"backbone", "site", "checkpoint", "head", "head_settings"}),
                "weights": False,
                "checkpoint": None,
                "head_settings": _without_files(target.head_settings),
                "methods": [_entry(kind, labels, share, images) for kind in of_site],
            }
        )
    metrics = kinds[0].representative.metrics
    described = "all metrics" if metrics is None else f"{len(metrics)} metrics"
    return parse_suite(
        {
            "name": f"rehearsal of {name}, share {share.label}: {passes.backbone}, {described}",
            "seeds": {"tokens": leaf.seeds.tokens[:1], "init": leaf.seeds.init[:1]},
            "data": {"dataset": f"{DATASET}:{images}+{share.evaluated}"},
            "probing": {"crops": leaf.probing.crops, "tokens_per_image": None, "dtype": leaf.probing.dtype},
            "evaluation": {
                "top_images": leaf.evaluation.top_images,
                "batch_size": leaf.evaluation.batch_size,
                "metrics": metrics,
            },
            "targets": targets,
        },
        source=f"rehearsal of {name}",
    )


def _entry(kind: CellKind, labels: dict[str, str], share: Share, images: int) -> dict[str, Any]:
    job = kind.representative
    config = reduced(job.method, kind.entry.config, share, images * tokens_of_image(job), job.n_tokens)
    return {"name": job.method, "label": labels[kind.key], "config": config}


def _without_files(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a head without its weights, which are random as those of the backbone."""
    return {key: value for key, value in settings.items() if key != "checkpoint"}
