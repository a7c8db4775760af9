"""Recovery of a planted truth by a method. It applies only to planted layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from harness.activations.baseline import Baseline
from harness.metrics.base import METRICS, Batch, Metric, Outcome, Score
from harness.planted import random_level, recovery
from harness.planted.truth import TrueParts, truth_of
from harness.stats import clustered_standard_error
from methods.base import Method

#: Share of tokens whose assignment to sub-units is evaluated: those on which a part is strongest.
DRIVING = 0.05


@METRICS.register()
class Recovery(Metric):
    """Correlation of each planted concept with the unit matched to it, mean over concepts.

    Companions:

    - ``recovery_random``: the same for random units with the method's own counts, averaged over ten draws. For methods
      with sub-units that read the input, random splits with as many sub-units per neuron; for others, as many random
      directions of the layer's output, of which as many are active per token.
    - ``recovery_adjusted``: ``(recovery - random) / (1 - random)``.
    - ``recovery_purity``: mean over alive units of the largest share of one concept.
    - ``recovery_cosine``: matched cosine with the true directions, of methods with a dictionary. For methods with
      sub-units that read the input, these are the directions of the parts within each neuron; for methods with
      directions in the output, the output directions of the concepts.
    - ``recovery_ari``: for methods with sub-units, the mean over neurons of the adjusted Rand index between the
      sub-unit with the largest code and the true part, over the tokens on which the parts are strongest.
    - ``recovery_separated``: share of neurons in which each concept has a different sub-unit with at least .9 of the
      concept's inputs.
    """

    id = "recovery"
    version = 2
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
        codes = batch.codes.flatten(0, 1)
        strengths = self.strengths[batch.image].flatten(0, 1).to(codes.device)
        if self.moments is None:
            self.moments = recovery.Moments(codes.shape[1], strengths.shape[1])
        self.moments.update(codes, strengths)

    def compute(self, outcome: Outcome) -> Iterable[Score]:
        assert self.moments is not None
        method, parts = outcome.method, self.truth.parts
        value, random = recovery.matched_correlation(self.moments), self._random_level(outcome)
        yield self.score(value, self.truth.n_concepts)
        yield Score("recovery_adjusted", random_level.adjusted(value, random), self.truth.n_concepts)
        yield Score("recovery_random", random, self.truth.n_concepts, direction="none")
        purity = recovery.purities(self.moments)
        scored = outcome.units.alive & ~purity.isnan()
        parents = None if method.parents is None else method.parents.cpu()
        error, _ = outcome.error_over_units(purity, scored)
        mean = float(purity[scored].mean())
        yield Score("recovery_purity", mean, int(scored.sum()), error, "units, clustered by parent")
        dictionary = method.dictionary()
        if dictionary is not None and dictionary.side == "writer":
            cosine = recovery.matched_directions(self.truth.writers, dictionary.atoms)
            yield Score("recovery_cosine", cosine, len(self.truth.writers))
        elif dictionary is not None and parts is not None and parents is not None:
            atoms = dictionary.atoms.cpu()
            cosine = recovery.matched_directions_by_parent(parts.weights, parts.parent, atoms, parents)
            yield Score("recovery_cosine", cosine, len(parts.weights))
        if parts is not None and parents is not None:
            yield self._assigned(method, parts, parents)
            is_split = dictionary is not None and dictionary.side == "reader" and not method.spec.virtual
            if dictionary is not None and is_split and parts.exclusive_inputs is not None:
                yield self._separated(dictionary.atoms.cpu(), parts, parts.exclusive_inputs, parents)

    def _random_level(self, outcome: Outcome) -> float:
        """Return the recovery of random units with the method's counts, computed once per counts and split."""
        assert self.moments is not None
        method, units = outcome.method, outcome.units
        site, images, parents = self.baseline.passes.site, self.baseline.images.fingerprint, method.parents
        if parents is not None and method.spec.reads == "input":
            counts = tuple(torch.bincount(parents.cpu(), minlength=site.d_out).tolist())
            return self.truth.random_level(
                (images, "splits", counts),
                lambda: random_level.of_splits(self._tokens(), site.weight.cpu(), site.bias.cpu(), counts),
            )
        n_units, active = units.n_units, max(1, round(int(units.fires.sum()) / units.n_tokens))
        return self.truth.random_level(
            (images, "directions", n_units, active),
            lambda: random_level.of_directions(self._tokens(), self._mean_output(), n_units, active),
        )

    def _tokens(self) -> Iterator[random_level.EvaluationTokens]:
        """Yield the tokens of the evaluation split."""
        captured: list[tuple[Tensor, Tensor]] = []
        passes = self.baseline.passes.run(lambda q, a: captured.append((q.flatten(0, 1).cpu(), a.flatten(0, 1).cpu())))
        for index, _ in passes:
            q, a = captured.pop()
            yield random_level.EvaluationTokens(q, a, self.strengths[index].flatten(0, 1))

    def _mean_output(self) -> Tensor:
        """Return the (d_out,) mean output of the layer over the split."""
        tokens = self.baseline.tokens
        total = torch.stack([batch.double().sum(0) for batch in tokens.batches("output", 16384)]).sum(0)
        return (total / tokens.n).float()

    def _assigned(self, method: Method, parts: TrueParts, parents: Tensor) -> Score:
        """Return the mean over neurons of the adjusted Rand index, without neurons that only one part drives."""
        units_of = [torch.nonzero(parents == unit)[:, 0] for unit in range(len(parts.parent.unique()))]
        parts_of = [torch.nonzero(parts.parent == unit)[:, 0] for unit in range(len(units_of))]
        tables = [torch.zeros(max(len(units), 1), len(true)) for units, true in zip(units_of, parts_of, strict=True)]
        strengths = self.strengths[..., parts.concept]
        flat = strengths.flatten(0, 1)
        least = torch.stack([column.quantile(1 - DRIVING) for column in flat.T.contiguous()]).clamp_min(0)
        # A strength of 0 or 1 is not above its quantile on any token if more tokens than DRIVING have the concept.
        largest = flat.amax(0).clamp_min(torch.finfo(flat.dtype).tiny)
        captured: list[tuple[Tensor, Tensor]] = []

        def tap(q: Tensor, a: Tensor) -> None:
            x = q if method.spec.reads == "input" else a
            captured.append((method.encode(x.flatten(0, 1)).cpu(), a.flatten(0, 1).cpu()))

        for index, _ in self.baseline.passes.run(tap):
            codes, a = captured.pop()
            strength = strengths[index].flatten(0, 1)
            drives = (strength > least) | (strength == largest)
            for unit, (units, true) in enumerate(zip(units_of, parts_of, strict=True)):
                # Tokens on which the neuron is not positive are excluded: a rectifier cuts off the output there.
                rows = drives[:, true].any(1) & (a[:, unit] > 0)
                right = strength[rows][:, true].argmax(1)
                given = codes[rows][:, units].argmax(1) if len(units) else torch.zeros_like(right)
                tables[unit].index_put_((given, right), torch.ones(len(right)), accumulate=True)
        values = torch.tensor([recovery.adjusted_rand(table) for table in tables])
        values = values[~values.isnan()].double()
        n = len(values)
        error = clustered_standard_error(values.numpy(), torch.arange(n).numpy())
        return Score("recovery_ari", float(values.mean()), n, error, "neurons")

    def _separated(self, atoms: Tensor, parts: TrueParts, members: Tensor, parents: Tensor) -> Score:
        """Return the share of neurons in which each concept has a separate sub-unit."""
        weight = self.baseline.passes.site.weight.cpu()
        separated = []
        for unit in range(len(weight)):
            shares = recovery.mean_shares(atoms[parents == unit], weight[unit], members[parts.parent == unit])
            separated.append(recovery.is_separated(shares))
        share = sum(separated) / len(separated)
        return Score("recovery_separated", share, len(separated))
