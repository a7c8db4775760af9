"""Random split: the control that separates structure in the contributions from the effect of having more units."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from methods import register
from methods.additive import AdditiveSplit, remainder_last
from methods.base import Device, Learner, LinearSite, MethodConfig, MethodSpec, Progress, Tokens
from methods.errors import UserError


class RandomSplitConfig(MethodConfig):
    """Settings of the random split."""

    parts: int = Field(4, ge=1, description="sub-units per neuron")


@register
class RandomSplit(Learner, AdditiveSplit):
    """Random assignment of each neuron's input dimensions to ``parts`` sub-units of equal size (paper, Table 7).

    The bias is divided by the share of dimensions, as ELUDe does.
    """

    spec = MethodSpec(
        name="random_split",
        title="random split",
        family="control",
        reads="input",
        reference="ELUDe paper, Table 7 (random baseline)",
        training_free=True,
        lossless=True,
    )
    Config = RandomSplitConfig

    def learn(self, tokens: Tokens, site: LinearSite, seed: int, device: Device, progress: Progress) -> None:
        parts: int = self.config.parts
        if parts > site.d_in:
            raise UserError(
                f"random_split.parts = {parts}: a neuron with {site.d_in} inputs has at most {site.d_in} parts."
            )
        generator = torch.Generator().manual_seed(seed)
        weight, bias = site.weight.detach().cpu(), site.bias.detach().cpu()
        splits: list[tuple[Tensor, Tensor]] = []
        for unit in range(site.d_out):
            # Assigning positions of a permutation round robin gives every part the same number of dimensions, +-1.
            part_of = torch.argsort(torch.rand(site.d_in, generator=generator), stable=True) % parts
            member = torch.nn.functional.one_hot(part_of, parts).T.to(weight.dtype)
            shares = member * weight[unit], member.mean(1) * bias[unit]
            splits.append(remainder_last(weight[unit], bias[unit], *shares))
            progress(unit + 1, site.d_out, "neurons split")
        self.assemble(*zip(*splits, strict=True))
