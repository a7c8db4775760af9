"""Alive fraction: share of units that are active on the evaluation split."""

from __future__ import annotations

from collections.abc import Iterable

from harness.metrics.base import METRICS, Metric, Outcome, Score


@METRICS.register()
class AliveFraction(Metric):
    """Share of units whose code is positive for at least one evaluation token. The others are dead."""

    id = "alive_fraction"
    title = "alive units"
    reference = "units that activate on the evaluation split (ELUDe paper, App. B.2)"
    needs_network = False

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        alive = outcome.units.alive
        yield self.score(float(alive.double().mean()), len(alive))
