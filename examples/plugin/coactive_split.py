"""Co-active split: every neuron is split along groups of inputs that are active together.

ELUDe clusters the contributions of each neuron separately. This method determines once for the whole layer which inputs
vary together over the probing tokens, groups them by the leading directions of their correlation, and gives each neuron
one sub-unit per group. It needs one pass and one eigendecomposition and no training, and its sums are exact.
"""

import torch
from pydantic import Field
from torch.nn.functional import one_hot

from methods import register
from methods.additive import AdditiveSplit, remainder_last
from methods.base import MethodConfig, MethodSpec, no_progress


class CoactiveSplitConfig(MethodConfig):
    parts: int = Field(4, ge=1, description="groups of inputs, and sub-units per neuron")


@register
class CoactiveSplit(AdditiveSplit):
    spec = MethodSpec(
        name="coactive_split",
        title="co-active split",
        family="split",
        reads="input",
        reference="examples/plugin",
        training_free=True,
        lossless=True,
        stable=True,
        uses_seed=False,
    )
    Config = CoactiveSplitConfig

    def fit(self, tokens, site, *, seed=42, device="cpu", progress=no_progress):
        total, square, done = torch.zeros(site.d_in).double(), torch.zeros(site.d_in, site.d_in).double(), 0
        for q in tokens.batches("input", 4096):
            total, square, done = total + q.double().sum(0), square + (q.T @ q).double(), done + len(q)
            progress(done, tokens.n, "tokens")
        mean = total / tokens.n
        covariance = square / tokens.n - mean[:, None] * mean
        spread = covariance.diagonal().clamp_min(1e-12).sqrt()
        _, vectors = torch.linalg.eigh(covariance / (spread[:, None] * spread))
        parts = min(self.config.parts, site.d_in)
        leading = vectors[:, -((parts + 1) // 2) :].flip(1)  # both ends of a direction are a group
        leading = leading * leading.gather(0, leading.abs().argmax(0)[None]).sign()  # an eigenvector has no sign
        group = torch.cat([leading, -leading], 1)[:, :parts].argmax(1)
        member = one_hot(group, parts).T.float()  # (parts, d_in)
        member = member[member.sum(1) > 0]
        weight, bias = site.weight.cpu(), site.bias.cpu()
        split = [remainder_last(w, b, member * w, member.mean(1) * b) for w, b in zip(weight, bias, strict=True)]
        self.assemble([w for w, _ in split], [b for _, b in split])
        return self.to(device)
