"""Expansion factor: number of units per neuron of the layer."""

from __future__ import annotations

from collections.abc import Iterable

from harness.metrics.base import METRICS, Metric, Outcome, Score


@METRICS.register()
class ExpansionFactor(Metric):
    """Number of units per neuron, ``n_units / d_out``. For a split, neurons without sub-units count as one unit."""

    id = "expansion_factor"
    title = "expansion factor"
    unit = ""
    direction = "none"
    reference = "ELUDe paper, App. E.6"
    needs_network = False

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        yield self.score(outcome.units.n_units / outcome.d_out, outcome.d_out)
