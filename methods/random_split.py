"""Random split: the control that separates structure in the contributions from the effect of having more units."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from torch import Tensor

from methods import METHODS, register
from methods.additive import AdditiveSplit, remainder_last
from methods.base import Device, Learner, LinearSite, Method, MethodConfig, MethodSpec, Prerequisite, Progress, Tokens
from methods.errors import UserError
from methods.identity import Identity
from methods.method_reference import MethodReference
from methods.number_types import Whole


class RandomSplitConfig(MethodConfig):
    """Settings of the random split: ``parts`` or ``counts_of``, not both."""

    parts: Whole = Field(4, ge=1, le=100_000, description="sub-units per neuron")
    counts_of: MethodReference | None = Field(
        None, description="method (name, config) whose number of sub-units each neuron gets, instead of parts"
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> RandomSplitConfig:
        if self.counts_of is not None and "parts" in self.model_fields_set:
            raise ValueError(
                f"parts = {self.parts} and counts_of = {self.counts_of.name} both set the number of sub-units; give "
                "one of them"
            )
        if self.counts_of is not None and not _may_have_parents(METHODS.get(self.counts_of.name)):
            raise ValueError(_no_parents(self.counts_of.name))
        return self

    @model_serializer(mode="wrap")
    def _the_one_in_use(self, values_of: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Cells that were computed before counts_of existed keep their ids.
        values: dict[str, Any] = values_of(self)
        values.pop("counts_of" if self.counts_of is None else "parts")
        return values


@register
class RandomSplit(Learner, AdditiveSplit):
    """Random assignment of each neuron's input dimensions to sub-units of equal size (paper, Table 7).

    The number of sub-units is the same for all neurons (``parts``), or that of another method's fit to the same tokens
    with the same seed (``counts_of``): neuron u then has as many sub-units as that method splits it into, so that a
    difference between the two is not one of their number. A neuron without a unit of that method is kept whole.

    The bias is divided by the share of dimensions, as ELUDe does.
    """

    spec = MethodSpec(
        name="random_split",
        title="random split",
        family="control",
        reads="input",
        needs_weights=True,
        reference="ELUDe paper, Table 7 (random baseline)",
        training_free=True,
        lossless=True,
        control_for=("split", "virtual split"),
    )
    Config = RandomSplitConfig

    @classmethod
    def spec_with(cls, config: MethodConfig) -> MethodSpec:
        """Return :attr:`spec` with a title that names the method whose counts are used, and its claims on the fit."""
        prerequisite = cls.prerequisite(config)
        if prerequisite is None:
            return cls.spec
        counted = prerequisite.method.spec_with(prerequisite.config)
        return cls.spec._replace(
            title=f"{cls.spec.title} ({counted.title}'s counts)",
            training_free=counted.training_free,
            supervised=counted.supervised,
        )

    @classmethod
    def least_memory(cls, config: Any, d_in: int, d_out: int) -> int:
        """Return the bytes of the weights of all sub-units in float32; 0 if their number is that of another method."""
        return 0 if config.counts_of is not None else 4 * int(config.parts) * d_out * d_in

    @classmethod
    def prerequisite(cls, config: MethodConfig) -> Prerequisite | None:
        """Return the method that ``counts_of`` names."""
        counts_of = config.counts_of if isinstance(config, RandomSplitConfig) else None
        return None if counts_of is None else counts_of.prerequisite()

    def learn(self, tokens: Tokens, site: LinearSite, seed: int, device: Device, progress: Progress) -> None:
        generator = torch.Generator().manual_seed(seed)
        weight, bias = site.weight.detach().cpu(), site.bias.detach().cpu()
        splits: list[tuple[Tensor, Tensor]] = []
        for unit, parts in enumerate(self._counts(tokens, site, seed, device, progress)):
            # Assigning positions of a permutation round robin gives every part the same number of dimensions, +-1.
            part_of = torch.argsort(torch.rand(site.d_in, generator=generator), stable=True) % parts
            member = torch.nn.functional.one_hot(part_of, parts).T.to(weight.dtype)
            shares = member * weight[unit], member.mean(1) * bias[unit]
            splits.append(remainder_last(weight[unit], bias[unit], *shares))
            progress(unit + 1, site.d_out, "neurons split")
        self.assemble(*zip(*splits, strict=True))

    def _counts(self, tokens: Tokens, site: LinearSite, seed: int, device: Device, progress: Progress) -> list[int]:
        """Return the number of sub-units of each neuron.

        Raises:
            UserError: if a neuron would have more sub-units than inputs, or the method of ``counts_of`` does not split
                neurons.
        """
        config: RandomSplitConfig = self.config
        if config.counts_of is None:
            if config.parts > site.d_in:
                raise UserError(
                    f"random_split.parts = {config.parts}: a neuron with {site.d_in} inputs has at most {site.d_in} "
                    "parts."
                )
            return [config.parts] * site.d_out
        name = config.counts_of.name
        parents = self.fitted_prerequisite(tokens, site, seed=seed, device=device, progress=progress).parents
        if parents is None:
            raise UserError(f"random_split: {_no_parents(name)}.")
        counts = torch.bincount(parents.cpu(), minlength=site.d_out)
        if len(counts) > site.d_out or int(counts.max()) > site.d_in:
            raise UserError(
                f"random_split.counts_of = {name}: it has {len(counts)} neurons with up to {int(counts.max())} parts "
                f"each; this layer has {site.d_out} neurons, with at most one part for each of {site.d_in} inputs."
            )
        self.notes = [f"As many parts per neuron as {name} has, {int(counts.sum())} for {site.d_out} neurons."]
        if n_whole := int((counts == 0).sum()):
            self.notes.append(f"{n_whole} neurons without a unit of {name} were kept whole.")
        return [max(1, count) for count in counts.tolist()]


def _may_have_parents(method: type[Method]) -> bool:
    """Return whether units of a method may have parent neurons; of a plugin's method, only its fit shows it."""
    if not method.__module__.startswith("methods."):
        return True
    return issubclass(method, AdditiveSplit | Identity) or method.spec.family in RandomSplit.spec.control_for


def _no_parents(name: str) -> str:
    return f"counts_of = {name}: its units have no parent neurons; name a method that splits neurons, such as elude"
