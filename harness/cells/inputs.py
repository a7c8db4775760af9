"""Inputs shared by all cells of one target: token sets, head and baseline, made once and then read from the cache."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from harness.activations.baseline import Baseline, make_baseline
from harness.activations.collect import SitePlans, collect
from harness.activations.external_images import ExternalImages, default_encoder
from harness.activations.heads.base import Head
from harness.activations.probing_images import probing_images
from harness.activations.probing_plan import ProbingPlan
from harness.activations.site import Site
from harness.activations.sites import open_site
from harness.activations.token_set import TokenSet
from harness.cells.plan import PreparedTarget
from harness.datasets.loading import BrokenReport
from harness.datasets.seen_classes import require_seen_classes
from harness.identity import canonical
from harness.suites import Suite
from methods import numerics
from methods.base import Progress, no_progress


class AheadTokens(NamedTuple):
    """Token sets of a layer that later cells need, in plain values."""

    site: str
    """module path"""
    plans: tuple[ProbingPlan, ...]


class Inputs(NamedTuple):
    """Inputs of the cells of one target. They are memory-mapped, so processes on one machine share the memory."""

    tokens: dict[ProbingPlan, TokenSet]
    baseline: Baseline
    broken: BrokenReport
    """images that could not be read"""
    seconds: dict[str, float] = {}
    """time of what was made here: "tokens", "head", "baseline"; what was read from the cache is left out"""

    def notes(self) -> list[str]:
        """Return the notes on skipped images to be recorded with every cell."""
        return [self.broken.summary()] if self.broken else []


@numerics.threads()
def open_inputs(
    suite: Suite,
    prepared: PreparedTarget,
    plans: Sequence[ProbingPlan],
    cache: Path,
    *,
    ahead: Sequence[AheadTokens] = (),
    progress: Progress = no_progress,
) -> Inputs:
    """Read the target's tokens, head and baseline from ``cache``, and make those that are missing or damaged.

    Two processes may do so at once: each file or folder appears only once it is complete, and of two identical ones
    one is kept.

    Args:
        ahead: token sets of the same backbone and probing images that later targets need: a pass over these images
            makes them too. Tokens and the features on which a head is fitted come from one pass.

    Raises:
        UserError: if the images, the head or the free disk space are unsuitable.
    """
    report = BrokenReport(prepared.probing.skipped)
    times = _Times(progress)
    shared: dict[str, Any] = {"progress": times.progress, "report": report, "batch_size": suite.evaluation.batch_size}
    plans = list(dict.fromkeys(plans))
    with times.of("tokens"):
        token_sets = collect(
            prepared.backbone,
            prepared.site,
            prepared.probing,
            plans,
            cache,
            ahead=[SitePlans(_site(prepared, each.site), each.plans) for each in ahead],
            features=prepared.head.reads_features(cache),
            **shared,
        )
    with times.of("head"):
        head = prepared.head.make(cache, **shared)
    with times.of("baseline"):
        baseline = _baseline(suite, prepared, head, cache, shared)
    if prepared.head.fitted:
        require_seen_classes(prepared.split, unreadable=report)
    return Inputs(dict(zip(plans, token_sets, strict=True)), baseline, report, times.seconds)


@numerics.threads()
def open_baseline(suite: Suite, prepared: PreparedTarget, cache: Path, *, progress: Progress = no_progress) -> Baseline:
    """Read the target's head and baseline from ``cache``, and make what is missing: :func:`open_inputs` without tokens.

    Raises:
        UserError: if the images, the head or the free disk space are unsuitable.
    """
    report = BrokenReport(prepared.probing.skipped)
    shared: dict[str, Any] = {"progress": progress, "report": report, "batch_size": suite.evaluation.batch_size}
    return _baseline(suite, prepared, prepared.head.make(cache, **shared), cache, shared)


def _baseline(suite: Suite, prepared: PreparedTarget, head: Head, cache: Path, shared: Mapping[str, Any]) -> Baseline:
    baseline = make_baseline(
        prepared.backbone,
        prepared.site,
        prepared.evaluation,
        head,
        cache,
        top_images=suite.evaluation.top_images,
        head_identity=canonical(prepared.head_identity()),
        dtype=suite.probing.dtype,
        **shared,
    )
    external = ExternalImages(
        prepared.evaluation,
        suite.evaluation.encoder or default_encoder(prepared.target.backbone),
        prepared.backbone.device,
        suite.evaluation.batch_size,
        cache,
    )
    probing, first = (
        None if images is None else probing_images(baseline.passes, images, cache)
        for images in (prepared.probing, prepared.first_evaluation)
    )
    return replace(baseline, probing=probing, first_set=first, external=external)


def _site(prepared: PreparedTarget, path: str) -> Site:
    return prepared.site if path == prepared.site.path else open_site(prepared.backbone, path)


class _Times:
    """Time of each stage in which images passed through the network: one that reports progress."""

    def __init__(self, progress: Progress) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress
        self._has_passed = False

    def progress(self, done: int, total: int, what: str) -> None:
        self._has_passed = True
        self._progress(done, total, what)

    @contextlib.contextmanager
    def of(self, stage: str) -> Iterator[None]:
        self._has_passed = False
        started = time.perf_counter()
        yield
        if self._has_passed:
            self.seconds[stage] = time.perf_counter() - started
