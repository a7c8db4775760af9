"""Plan that is rehearsed: its work, what of it cannot run here, and the rates of the machine."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

from harness.doctor.calibration.file import load, save
from harness.doctor.calibration.measure import calibrate
from harness.doctor.estimate import estimate
from harness.doctor.memory import memory_needs
from harness.doctor.needs import backbone_key, head_key, method_key, needs
from harness.doctor.rates import Rates
from harness.doctor.workload import Workload, trained_methods, workload_of
from harness.errors import UserError
from harness.progress import Reporter
from harness.rehearsal.choice import Choice
from harness.rehearsal.kinds import CellKind, Kinds
from harness.rehearsal.shares import Share
from harness.rehearsal.suites import rehearsed_suites
from harness.run.selection import has_selections
from harness.suites import Suite
from harness.suites.tiny import is_planted

#: Seconds of the calibration that a rehearsal makes if the machine has none.
CALIBRATION_S = 40.0


def plan_of(suite: Suite) -> Workload:
    """Return the work of the plan.

    Raises:
        UserError: if its size is unknown, or its layers are planted.
    """
    targets = [target for leaf in suite.leaves for target in leaf.targets]
    if planted := next((target.backbone for target in targets if is_planted(target)), None):
        raise UserError(
            f"--scale rehearsal: {suite.name} measures planted layers, such as {planted}, which have no random "
            "weights. Run the suite without --scale."
        )
    workload = workload_of(suite)
    if not workload.sizes_known:
        raise UserError(
            f"--scale rehearsal: the number of images of {suite.name} is unknown until they are read. Rehearse it with "
            "its own images, or with as many synthetic ones: --dataset synthetic:PROBING+EVALUATION."
        )
    return workload


def rates_for(cache: Path, own: Path, suite: Suite, device: str, budget_s: float, reporter: Reporter) -> Rates:
    """Return the rates of this machine: of its calibration, or measured now; the rehearsal's cache gets a copy."""
    for folder in (own, cache):
        loaded = load(folder, device)
        if loaded.calibration is not None:
            rates = loaded.calibration.rates
            break
    else:
        reporter.say("This machine has no calibration (harness doctor --calibrate): a short one is made now.")
        own.mkdir(parents=True, exist_ok=True)
        trained = trained_methods(suite)
        rates = calibrate(
            own, device=device, seconds=min(CALIBRATION_S, 0.05 * budget_s), trained=trained, report=reporter.say
        )
    if load(own, device).calibration is None:
        save(own, device, rates)
    return Rates(rates, overlapping=device != "cpu")


def unavailable_kinds(suite: Suite, kinds: Kinds, share: Share, device: str) -> dict[str, str]:
    """Return key -> reason of the kinds that cannot run here: a package, a file or memory is missing."""
    reasons: dict[str, str] = {}
    for rehearsed in rehearsed_suites(suite.name, kinds.passes, [*kinds.cells, *kinds.carriers], share):
        missing = [
            need
            for need in (*needs(rehearsed.suite), *memory_needs(rehearsed.suite, device))
            if not need.check.ok and (need.stops != "nothing" or need.check.what.startswith("memory for"))
        ]
        by_label = {
            entry.label: (target, entry) for target in rehearsed.suite.targets for entry in target.methods or ()
        }
        for label, kind in rehearsed.kinds.items():
            target, entry = by_label[label]
            keys = {backbone_key(target), head_key(target), method_key(entry)}
            for need in missing:
                if need.stops == "all" or need.key in keys or (not need.key and (entry.label or "") in need.check.what):
                    what = need.check.what.partition(", for ")[0].partition(" for ")[0]
                    reasons[kind.key] = f"{what}: {need.check.found}"
    return reasons


def reasons_of(kinds: Kinds, choice: Choice) -> list[str]:
    """Return sentences on the kinds that are not rehearsed and that no other kind stands for."""
    by_key: Mapping[str, CellKind] = {kind.key: kind for kind in (*kinds.cells, *kinds.carriers)}
    return [
        f"{by_key[key].title} ({count_text(len(by_key[key].jobs), 'cell')}): {reason}"
        for key, reason in choice.left_out.items()
    ]


def not_rehearsed(suite: Suite, kinds: Kinds) -> list[str]:
    """Return sentences on work of the plan that is of no kind."""
    sentences = [f"{backbone}: its layer is unknown until it is loaded." for backbone in kinds.unknown]
    if calls := estimate(suite).judge_calls:
        sentences.append(f"Judging: {calls:,} questions, which need judges; their time is not estimated.")
    return sentences


def runs_of(suite: Suite) -> int:
    """Return the number of runs of the loop: one per part, and one per target of a sweep."""
    return sum(1 + (len(leaf.targets) if has_selections(leaf) else 0) for leaf in suite.leaves)


def pairs_of(suite: Suite) -> int:
    """Return the number of pairs of fits whose units are matched, without the methods that split neurons."""
    total = 0
    for leaf in suite.leaves:
        for target in leaf.targets:
            seeds = leaf.token_seeds_of(target)
            of_init = len(list(itertools.combinations(leaf.stability.init, 2))) if leaf.stability else 0
            of_tokens = len(list(itertools.combinations(seeds, 2)))
            for entry in leaf.methods_of(target):
                if entry.name not in ("elude", "random_split", "identity"):
                    total += of_init + of_tokens
    return total


def count_text(number: int, what: str) -> str:
    """Return a number with a noun: "1 cell", "2 cells"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
