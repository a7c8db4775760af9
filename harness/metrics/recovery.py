"""Recovery: how much of a planted truth a method has found. Not for layers whose truth nobody knows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.metrics.base import METRICS, Batch, Metric, Outcome, Score
from harness.planted import recovery
from harness.planted.truth import Parts, truth_of
from harness.stats import clustered_standard_error

if TYPE_CHECKING:
    from harness.activations.baseline import Baseline
    from methods.base import Method

#: Share of the tokens, those on which a part is strongest, whose assignment to sub-units is looked at.
DRIVING = 0.05


@METRICS.register()
class Recovery(Metric):
    """Correlation of each planted concept with the unit matched to it, mean over concepts.

    Companions: ``recovery_purity``, mean over alive units of the largest share of one concept; ``recovery_cosine``,
    matched cosine with the true directions: of the parts, inside each neuron, for methods with sub-units that read the
    input, and of what each concept writes for methods with directions in the output; ``recovery_ari``, for methods with
    sub-units, mean over neurons of the adjusted Rand index between the sub-unit of the largest code and the true part,
    over the tokens that drive the neuron most; ``recovery_separated``, share of neurons each of whose concepts has a
    sub-unit of its own with at least .9 of the concept's inputs.
    """

    id = "recovery"
    title = "recovery of planted concepts"
    reference = "mean correlation coefficient, Hyvarinen and Morioka 2016; docs/metrics.md"
    default = False

    def __init__(self, baseline: Baseline) -> None:
        super().__init__(baseline)
        truth = truth_of(baseline.passes.site)
        assert truth is not None
        self.truth = truth
        self.strengths = truth.strengths_on(baseline)
        self.moments: recovery.Moments | None = None

    @classmethod
    def applies(cls, method: Method, baseline: Baseline) -> bool:
        return truth_of(baseline.passes.site) is not None

    def update(self, batch: Batch) -> None:
        strengths = self.strengths[batch.image].flatten(0, 1)
        codes = batch.codes.flatten(0, 1)
        if self.moments is None:
            self.moments = recovery.Moments(codes.shape[1], strengths.shape[1])
        self.moments.update(codes, strengths)

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        assert self.moments is not None
        method, parts = outcome.method, self.truth.parts
        yield self.score(recovery.matched_correlation(self.moments), self.truth.n_concepts)
        purity = recovery.purities(self.moments)
        known = outcome.units.alive & ~purity.isnan()
        parents = method.parents
        clusters = torch.arange(len(purity)) if parents is None else parents.cpu()
        error = clustered_standard_error(purity[known].numpy(), clusters[known].numpy()) if bool(known.any()) else None
        mean = float(purity[known].mean()) if bool(known.any()) else math.nan
        yield Score("recovery_purity", mean, int(known.sum()), error, "units, clustered by parent")
        dictionary = method.dictionary()
        if dictionary.side == "writer":
            cosine = recovery.matched_directions(self.truth.writers, dictionary.atoms)
            yield Score("recovery_cosine", cosine, len(self.truth.writers))
        elif parts is not None and parents is not None:
            cosine = recovery.matched_directions_by_parent(
                parts.weights, parts.parent, dictionary.atoms.cpu(), parents.cpu()
            )
            yield Score("recovery_cosine", cosine, len(parts.weights))
        if parts is not None and parents is not None:
            yield self._assigned(method, parts, parents.cpu())
            if dictionary.side == "reader" and parts.own is not None and not method.spec.virtual:
                yield self._separated(dictionary.atoms.cpu(), parts, parts.own, parents.cpu())

    def _assigned(self, method: Method, parts: Parts, parents: Tensor) -> Score:
        """Mean over neurons of the adjusted Rand index; neurons that only one part drives are left out."""
        codes_of = [torch.nonzero(parents == unit)[:, 0] for unit in range(len(parts.parent.unique()))]
        parts_of = [torch.nonzero(parts.parent == unit)[:, 0] for unit in range(len(codes_of))]
        tables = [torch.zeros(max(len(own), 1), len(true)) for own, true in zip(codes_of, parts_of, strict=True)]
        strengths = self.strengths[..., parts.concept]
        flat = strengths.flatten(0, 1)
        least = torch.stack([column.quantile(1 - DRIVING) for column in flat.T.contiguous()]).clamp_min(0)
        held: list[tuple[Tensor, Tensor]] = []

        def tap(q: Tensor, a: Tensor) -> None:
            x = q if method.spec.reads == "input" else a
            held.append((method.encode(x.flatten(0, 1)).cpu(), a.flatten(0, 1).cpu()))

        for index, _ in self.baseline.passes.run(tap):
            codes, a = held.pop()
            strength = strengths[index].flatten(0, 1)
            drives = strength > least
            for unit, (own, true) in enumerate(zip(codes_of, parts_of, strict=True)):
                # A token on which the neuron is silent is nobody's: what gates its activation gates nothing there.
                rows = drives[:, true].any(1) & (a[:, unit] > 0)
                right = strength[rows][:, true].argmax(1)
                given = codes[rows][:, own].argmax(1) if len(own) else torch.zeros_like(right)
                tables[unit].index_put_((given, right), torch.ones(len(right)), accumulate=True)
        values = torch.tensor([recovery.adjusted_rand(table) for table in tables])
        values = values[~values.isnan()].double()
        n = len(values)
        error = clustered_standard_error(values.numpy(), torch.arange(n).numpy()) if n else None
        return Score("recovery_ari", float(values.mean()) if n else math.nan, n, error, "neurons")

    def _separated(self, atoms: Tensor, parts: Parts, own: Tensor, parents: Tensor) -> Score:
        weight = self.baseline.passes.site.weight.cpu()
        separated = []
        for unit in range(len(weight)):
            shares = recovery.mean_shares(atoms[parents == unit], weight[unit], own[parts.parent == unit])
            separated.append(recovery.is_separated(shares))
        share = sum(separated) / len(separated)
        return Score("recovery_separated", share, len(separated))
