"""Settings that all sparse autoencoders share."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from methods.errors import UserError
from methods.interface import ADDED
from methods.number_types import Real, Whole
from methods.training.config import TrainingConfig


class SparseConfig(TrainingConfig):
    """Training, size, and the weight of the dead-unit term."""

    expansion_factor: Real = Field(8, ge=1e-6, le=100_000, description="units per neuron of the layer")
    dead_weight: Real = Field(1e-4, ge=0, le=1e6, description="weight of the term that revives units dead in a batch")
    dead_over: Literal["token", "batch"] = Field(
        "token",
        description="token: that term is a mean over the tokens of a batch, as printed in App. E.1; batch: a sum over "
        "them, as in overcomplete's reanimation_regularizer, which makes the same weight batch_size times as strong",
        json_schema_extra=ADDED,
    )

    def n_units(self, d_out: int) -> int:
        """Return the number of units for a layer of d_out neurons."""
        return max(1, round(self.expansion_factor * d_out))

    def dead_weight_of(self, batch_size: int) -> float:
        """Return the weight of the mean pre-code of dead units in a batch of that many tokens."""
        return self.dead_weight * batch_size if self.dead_over == "batch" else self.dead_weight


class FreeAtomsConfig(SparseConfig):
    """Settings of the families whose atoms are parameters of their own."""

    remove_parallel_gradient: bool = Field(
        False,
        description="remove from the gradient of each atom its component along the atom (Bricken et al. 2023)",
        json_schema_extra=ADDED,
    )


class PreBiasConfig(SparseConfig):
    """Settings of the families that read what they reconstruct."""

    pre_bias: bool = Field(
        False,
        description="learn a bias that is subtracted before the encoder and added after the decoder (Bricken et al. "
        "2023; Gao et al. 2024)",
        json_schema_extra=ADDED,
    )


class SparsityWarmUpConfig(SparseConfig):
    """Settings of the families with a penalty on their codes."""

    sparsity_warmup: Real = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the steps over which the weight of the penalty on the codes rises from 0",
        json_schema_extra=ADDED,
    )


class KWarmUpConfig(SparseConfig):
    """Settings of the families that select k codes per token."""

    k_warmup: Real = Field(
        0.0, ge=0, le=1, description="share of the steps over which k falls from k_start", json_schema_extra=ADDED
    )
    k_start: Whole | None = Field(
        None,
        ge=1,
        le=1_048_576,
        description="active units per token in the first step, with k_warmup; None: the width of the layer",
        json_schema_extra=ADDED,
    )

    @model_validator(mode="after")
    def _k_start_is_used(self) -> KWarmUpConfig:
        if self.k_start is not None and not self.k_warmup:
            raise ValueError(f"k_start = {self.k_start} has no effect without k_warmup: set k_warmup, or leave it out")
        return self


class SAEConfig(SparseConfig):
    """Settings of the families with a linear encoder."""

    encoder_start: Literal["dictionary", "library"] = Field(
        "dictionary",
        description="dictionary: encoder rows start as their atoms, as in the library's untied(), which leaves far "
        "fewer dead units; library: as drawn, independent of the atoms",
    )
    auxk: Whole | None = Field(
        None,
        ge=1,
        le=1_048_576,
        description="number of dead units per token that reconstruct the residual (AuxK, Gao et al. 2024); None: no "
        "such loss",
        json_schema_extra=ADDED,
    )
    auxk_weight: Real = Field(
        1 / 32, ge=0, le=1e6, description="weight of the AuxK loss, with auxk", json_schema_extra=ADDED
    )
    auxk_tokens: Whole | None = Field(
        None,
        ge=1,
        le=1_000_000_000,
        description="tokens without firing after which a unit is dead, with auxk; None: one epoch, at most 10 million",
        json_schema_extra=ADDED,
    )

    @model_validator(mode="after")
    def _auxk_is_used(self) -> SAEConfig:
        for name in ("auxk_weight", "auxk_tokens"):
            value = getattr(self, name)
            if self.auxk is None and value != type(self).model_fields[name].default:
                raise ValueError(f"{name} = {value} has no effect without auxk: set auxk, or leave {name} out")
        return self


def checked_k(k: int, name: str, n_units: int) -> int:
    """Return ``k``, the number of active units per token of the method ``name``.

    Raises:
        UserError: if there are fewer units.
    """
    if k > n_units:
        raise UserError(f"{name}.k = {k}, but there are only {n_units} units: lower k or raise expansion_factor.")
    return k


class FixedL0(FreeAtomsConfig):
    """Settings of the families whose sparsity is a number of active units."""

    k: Whole = Field(20, ge=1, le=1_048_576, description="active units per token")

    def k_of(self, name: str, n_units: int) -> int:
        """Return ``k``; see :func:`checked_k`."""
        return checked_k(self.k, name, n_units)


class FixedL0Config(FixedL0, KWarmUpConfig, PreBiasConfig, SAEConfig):
    """Settings of the families with a linear encoder and a number of active units."""
