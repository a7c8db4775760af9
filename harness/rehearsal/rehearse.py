"""Rehearsal of a suite: each kind of its work once, at two shares, timed and extrapolated to the whole plan."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from harness import devices
from harness.activations.prefix_cache import limited, size_limit
from harness.doctor.calibration.fits import compile_clustering
from harness.doctor.calibration.machine import FLOAT32, product_rate
from harness.doctor.rates import Rates
from harness.doctor.steps import units_of
from harness.doctor.verdict import cache_folder
from harness.doctor.workload import Workload
from harness.efficiency.protocol import shortened
from harness.errors import UserError
from harness.executors.base import Executor
from harness.progress import Reporter
from harness.rehearsal.choice import Choice, choose, first_share, second_share, seconds_of
from harness.rehearsal.folder import RehearsalFolder
from harness.rehearsal.kinds import Kinds, kinds_of, layer_of_job
from harness.rehearsal.measurements import RUN, SECTIONS, STABILITY, Measurements, Piece
from harness.rehearsal.plan import (
    count_text,
    not_rehearsed,
    pairs_of,
    plan_of,
    rates_for,
    reasons_of,
    runs_of,
    unavailable_kinds,
)
from harness.rehearsal.progress import TimesOnly
from harness.rehearsal.report import Report, make_report
from harness.rehearsal.shares import Share, tokens_of_image
from harness.rehearsal.suites import RehearsedSuite, rehearsed_suites, stability_suite
from harness.rehearsal.watching import Watching
from harness.run.loop import run
from harness.suites import Suite
from methods.elude.partial import PartialFit, partial_fits
from methods.tracing import Trace, tracing
from results.duration_text import duration_text

#: Default budget in minutes: on a CPU, on a GPU.
BUDGETS = (25.0, 7.0)
#: Seconds of a measurement of the machine's speed, about.
SPEED_S = 0.3


class Rehearsal(NamedTuple):
    """Result of a rehearsal."""

    report: Report | None
    """None if it was interrupted"""
    folder: Path
    interrupted: bool
    failed: int
    """cells that failed"""


def rehearse(
    suite: Suite,
    store: Path,
    *,
    executor: Executor,
    reporter: Reporter,
    device: str = "auto",
    cache: Path | None = None,
    budget_minutes: float | None = None,
    rerun: bool = False,
) -> Rehearsal:
    """Rehearse a suite: run each kind of its work once at two shares, and extrapolate to the whole plan.

    The networks have random weights, and the images are synthetic. All files are in ``rehearsal/`` beside ``store``,
    which is not touched.

    Args:
        suite: suite at full size.
        store: store of real results, beside which the rehearsal's folder is.
        executor: opened executor of this process.
        cache: folder with the calibration of the machine; default: ``cache/`` beside the store.
        budget_minutes: time for all of it; default: :data:`BUDGETS`.
        rerun: start anew instead of continuing.

    Raises:
        UserError: if nothing of the suite can be rehearsed.
    """
    chosen_device = executor.planning_device(device)
    budget_s = 60.0 * (budget_minutes or BUDGETS[chosen_device != "cpu"])
    workload = plan_of(suite)
    folder = RehearsalFolder(store, suite, devices.device_name(chosen_device), budget_s)
    if rerun:
        folder.clear()
    started = time.monotonic()
    rates = rates_for(cache_folder(store, cache), folder.cache, suite, chosen_device, budget_s, reporter)
    kinds = kinds_of(workload)
    first = folder.share("A") or first_share(kinds, rates, chosen_device, budget_s)
    folder.keep_share(first)
    unavailable = unavailable_kinds(suite, kinds, first, chosen_device)
    choice = choose(kinds, unavailable, first, rates, chosen_device, budget_s)
    if not choice.kinds:
        raise UserError(f"Nothing of {suite.name} can be rehearsed here: {'; '.join(reasons_of(kinds, choice))}.")
    session = _Session(suite, workload, kinds, choice, folder, executor, reporter, chosen_device, rates)
    for sentence in session.opening(first):
        reporter.say(sentence)
    if any(hasattr(kind.representative.config, "top_k_fraction") for kind in choice.kinds):
        compile_clustering(chosen_device)
    is_done = session.run(first)
    if is_done:
        left_s = max(0.0, budget_s - (time.monotonic() - started))
        second = folder.share("B") or second_share(
            first,
            kinds.passes,
            choice.kinds,
            rates,
            chosen_device,
            measured_s=session.measured(first),
            left_s=left_s,
        )
        folder.keep_share(second)
        reporter.say(session.described(second))
        speed = session.measured(first) / seconds_of(kinds.passes, choice.kinds, first, rates, chosen_device)
        expected = speed * seconds_of(kinds.passes, choice.kinds, second, rates, chosen_device)
        if expected > left_s:
            reporter.say(
                f"  It is the smallest one and takes about {duration_text(expected, is_rough=True)}; "
                f"{duration_text(left_s, is_rough=True)} of the budget are left."
            )
        is_done = session.run(second)
    if session.trace.events:
        session.trace.write(folder.trace)
    if not is_done:
        return Rehearsal(None, folder.path, True, session.failed)
    report = make_report(
        suite,
        workload,
        kinds,
        choice,
        session.measurements,
        rates,
        chosen_device,
        shares=[first, second],
        reasons=reasons_of(kinds, choice),
        not_rehearsed=[*session.problems.values(), *not_rehearsed(suite, kinds)],
        runs=runs_of(suite),
        pairs=pairs_of(suite),
        seconds=time.monotonic() - started,
        load=session.load,
        speeds=session.speeds,
        folder=folder.path,
    )
    folder.write(folder.report, report.as_json())
    folder.remove_fits()
    return Rehearsal(report, folder.path, False, session.failed)


class _Session:
    """Runs of both shares."""

    def __init__(
        self,
        suite: Suite,
        workload: Workload,
        kinds: Kinds,
        choice: Choice,
        folder: RehearsalFolder,
        executor: Executor,
        reporter: Reporter,
        device: str,
        rates: Rates,
    ) -> None:
        self.suite = suite
        self.workload = workload
        self.kinds = kinds
        self.choice = choice
        self.folder = folder
        self.executor = executor
        self.reporter = reporter
        self.device = device
        self.rates = rates
        self.measurements = Measurements(folder.measurements)
        self.trace = Trace(_synchronise_of(device))
        self.failed = 0
        self.problems: dict[str, str] = {}
        """sentences on suites that could not be run"""
        self.load: list[float] = []
        """load averages of one minute, at the start and after each run"""
        self.speeds: list[float] = []
        """float32 products per second before each run, relative to the calibration"""

    def opening(self, share: Share) -> list[str]:
        n_cells = sum(len(kind.jobs) for kind in self.kinds.cells)
        return [
            "Scale rehearsal: random weights and synthetic images; it measures time, and none of its scores means "
            f"anything. Its files are in {self.folder.path}.",
            f"  {n_cells} cells of the plan are of {len(self.kinds.cells)} kinds, of which "
            f"{len([kind for kind in self.choice.kinds if kind.jobs])} are rehearsed; the passes of "
            f"{len(self.kinds.passes)} backbones.",
            self.described(share),
        ]

    def described(self, share: Share) -> str:
        """Return a share in a sentence."""
        return (
            f"Share {share.label}: {share.evaluated} evaluation images and at least {share.probing} probing images, "
            f"all of their tokens; {count_text(share.epochs, 'epoch')}; ELUDe: {share.neurons} neurons of at most "
            f"{share.instances} instances."
        )

    def measured(self, share: Share) -> float:
        """Return the seconds of a share so far."""
        return sum(sum(piece.seconds.values()) for piece in self.measurements.of("passes", share.label)) + sum(
            sum(piece.seconds.values()) for kind in ("cell", RUN) for piece in self.measurements.of(kind, share.label)
        )

    def run(self, share: Share) -> bool:
        """Run a share; return False if it was interrupted."""
        self.load.append(_load())
        suites = rehearsed_suites(self.suite.name, self.kinds.passes, self.choice.kinds, share)
        if (extra := self._stability(share)) is not None:
            suites.append(extra)
        for number, rehearsed in enumerate(suites):
            self.reporter.say(f"Share {share.label}, {number + 1} of {len(suites)}: {rehearsed.suite.name}")
            self.speeds.append(self._speed())
            try:
                if not self._run(rehearsed, share):
                    return False
            except UserError as error:
                # What only loading reveals stops the kinds of this backbone, and not the others.
                titles = ", ".join(kind.title for kind in rehearsed.kinds.values())
                self.problems[titles] = f"{titles}: {error}"
                self.reporter.say(f"  Not rehearsed: {error}")
            self.load.append(_load())
        return True

    def _run(self, rehearsed: RehearsedSuite, share: Share) -> bool:
        sized = rehearsed.passes.representative
        job = next(iter(rehearsed.kinds.values())).representative
        watching = Watching(
            self.executor,
            self.measurements,
            share,
            rehearsed.passes.key,
            rehearsed.kinds if not rehearsed.is_stability else {},
            rehearsed.probing * tokens_of_image(job),
            self.trace,
        )
        # As many images relative to the limit as the plan has.
        states = size_limit() * share.evaluated // max(sized.evaluated, share.evaluated)
        units = units_of(job, layer_of_job(job)) / layer_of_job(job).d_out
        partial = PartialFit(share.neurons, max(1, round(_splits(rehearsed, units))))
        before = self._sections()
        started = time.perf_counter()
        with tracing(self.trace), limited(states), shortened(share.repeats), partial_fits(partial):
            summary = run(
                rehearsed.suite,
                self.folder.store,
                device=self.device,
                cache=self.folder.cache,
                executor=watching,
                reporter=TimesOnly(self.reporter),
            )
        seconds = time.perf_counter() - started
        self.failed += summary.failed
        after = self._sections()
        grown = {key: value - before.get(key, 0.0) for key, value in after.items() if value > before.get(key, 0.0)}
        key, label = rehearsed.suite.name.replace(f"share {share.label}", "share"), share.label
        stability = sum(value for (_, name, _), value in grown.items() if name.startswith("stability of methods"))
        if summary.finished:
            self.measurements.add(
                Piece(RUN, label, key, {"run": max(0.0, seconds - watching.counted - stability)}, {}, {})
            )
            sections = [[*names, value] for names, value in grown.items()]
            self.measurements.add(Piece(SECTIONS, label, key, {"all": seconds}, {}, {"sections": sections}))
            if rehearsed.is_stability and stability:
                self.measurements.add(Piece(STABILITY, label, key, {"stability": stability}, {}, {}))
        return not summary.interrupted

    def _speed(self) -> float:
        """Return the rate of float32 products at this moment, relative to the calibration."""
        return product_rate(torch.float32, SPEED_S, self.device).value / self.rates[FLOAT32].value

    def _stability(self, share: Share) -> RehearsedSuite | None:
        if not pairs_of(self.suite):
            return None
        return stability_suite(self.suite.name, self.kinds.passes, self.choice.kinds, share)

    def _sections(self) -> dict[tuple[str, str, str], float]:
        return {(key.outermost, key.name, key.place): value for key, value in self.trace.seconds.items()}


def _splits(rehearsed: RehearsedSuite, default: float) -> float:
    """Return the units per neuron that doctor assumes for the splits of a suite."""
    factors = [
        units_of(kind.representative, layer_of_job(kind.representative)) / layer_of_job(kind.representative).d_out
        for kind in rehearsed.kinds.values()
        if hasattr(kind.representative.config, "top_k_fraction")
    ]
    return max(factors, default=default)


def _synchronise_of(device: str) -> Callable[[], None]:
    from harness.doctor.calibration.timing import synchronise

    return lambda: synchronise(device)


def _load() -> float:
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
