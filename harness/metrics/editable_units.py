"""Editable units: share of units whose edited code changes the layer's output."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from harness.activations.baseline import Baseline
from harness.metrics.base import METRICS, Batch, Metric, Outcome, Score

#: Number of units tested, evenly spaced over the alive ones, and number of tokens each is tested on.
UNITS, TOKENS = 256, 4

#: Smallest effect that counts, of an edit by the unit's whole range, as a fraction of the output's spread.
SMALLEST = 1e-4

_AT_ONCE = 16


@METRICS.register()
class EditableUnits(Metric):
    """Share of alive units whose edit changes ``decode``: evidence for "explicit" (:mod:`results.reports.properties`).

    The code of one unit is raised by its range over the evaluation split, on four tokens of different images. A unit
    counts if, on one of them, the decoded output changes by at least 1e-4 of the root mean square distance of outputs
    from their mean. The output of a virtual method does not depend on its codes, so none of its units counts.
    """

    id = "evidence_editable_units"
    title = "editable units"
    reference = "ELUDe paper, Table 1 (explicit)"

    def __init__(self, baseline: Baseline) -> None:
        super().__init__(baseline)
        self.codes: list[Tensor] = []
        self.outputs: list[Tensor] = []

    @property
    def params(self) -> dict[str, Any]:
        return {"units": UNITS, "tokens": TOKENS, "smallest": SMALLEST}

    def update(self, batch: Batch) -> None:
        middle = batch.codes.shape[1] // 2
        self.outputs.extend(batch.a[: 64 - len(self.outputs), middle].clone())
        self.codes.extend(batch.codes[: TOKENS - len(self.codes), middle].clone())

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        alive = outcome.units.alive.nonzero()[:, 0]
        tested = alive[torch.linspace(0, max(0, len(alive) - 1), min(UNITS, len(alive))).round().long()]
        details: dict[str, Any] = {"tested": len(tested), "virtual": outcome.method.spec.virtual}
        if outcome.method.spec.virtual:
            yield self.score(0.0, len(tested))._replace(details=details)
            return
        effects = self._effects(outcome, tested)
        value = float((effects >= SMALLEST).double().mean())
        if len(effects):
            details |= {"median_effect": float(effects.median()), "smallest_effect": float(effects.min())}
        yield self.score(value, len(tested))._replace(details=details)

    def _effects(self, outcome: Outcome, tested: Tensor) -> Tensor:
        """Return the (len(tested),) largest change over the tokens, as a fraction of the output's spread."""
        codes, outputs = torch.stack(self.codes), torch.stack(self.outputs).double()
        spread = (outputs - outputs.mean(0)).square().sum(1).mean().sqrt()
        reach = (outcome.units.maximum - outcome.units.minimum).to(codes)
        # What a skip from the layer's input adds is the same before and after an edit.
        reads_output = outcome.method.spec.reads == "output"
        width = outcome.method.input_width or outputs.shape[1]
        read = outputs[: len(codes)].to(codes) if reads_output else codes.new_zeros(len(codes), width)
        before = outcome.method.reconstruct(codes.clone(), read)
        effects = []
        for units in tested.to(codes.device).split(_AT_ONCE):
            edited = codes.repeat(len(units), 1, 1)
            edited[torch.arange(len(units)), :, units] += reach[units, None]
            rows = read.repeat(len(units), 1)
            after = outcome.method.reconstruct(edited.flatten(0, 1), rows).unflatten(0, edited.shape[:2])
            effects.append((after - before).double().norm(dim=2).amax(1) / spread)
        return torch.cat(effects).cpu() if effects else torch.zeros(0, dtype=torch.float64)
