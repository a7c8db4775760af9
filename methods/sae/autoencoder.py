"""Sparse autoencoders with a linear encoder, during training: ``x -> pre-codes -> codes -> codes @ atoms``."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from methods.errors import UserError
from methods.sae.auxk import AuxK
from methods.sae.config import FreeAtomsConfig, PreBiasConfig, SAEConfig
from methods.sae.library import Start
from methods.sae.parallel_gradient import remove_parallel_gradient
from methods.sae.revival import revival
from methods.training.dense_codes import DenseCodes, GivenCodes, GivenPreCodes, nonzero_counts
from methods.training.entries import Decoded, Entries, PreCodesAt, SelectedCodes, sparse_here
from methods.training.loop import StepLoss, Trainee
from methods.training.mean_square import MeanSquare


class Decoding(NamedTuple):
    """Product of codes and atoms."""

    values: Tensor
    """(n, d)"""
    codes: Tensor
    """(n, n_units)"""
    atoms: Tensor
    """(n_units, d)"""


class Codes(NamedTuple):
    """Codes of a batch, dense or only at their active entries."""

    values: Tensor
    """(n, n_units) if ``entries`` is None, (n_entries,) otherwise"""
    entries: Entries | None
    n: int
    active: Tensor | None = None
    """() number of active entries, if it is part of a loss and already computed"""
    total: Tensor | None = None
    """() sum of all codes, if already computed"""
    rows: Tensor | None = None
    """(n_units,) number of rows in which each unit is not zero, if already counted"""
    decoded: Decoding | None = None
    """their product with some atoms, if already computed"""

    def decode(self, atoms: Tensor) -> Tensor:
        """Return ``codes @ atoms`` (n, d)."""
        if self.decoded is not None and self.decoded.codes is self.values and self.decoded.atoms is atoms:
            return self.decoded.values
        if self.entries is None:
            return self.values @ atoms.to(self.values.dtype)
        decoded: Tensor = Decoded.apply(self.values, atoms, self.entries)
        return decoded

    def fires(self) -> Tensor:
        """Return the (n_units,) number of rows in which each unit is not zero."""
        if self.rows is not None:
            return self.rows
        if self.entries is None:
            return nonzero_counts(self.values)
        active = self.values.detach() != 0
        return torch.bincount(self.entries.unit_index[active], minlength=self.entries.n_units)


class LinearAutoencoder(Trainee):
    """Encoder ``x @ weight.T + bias``, a function from pre-codes to codes, and unit atoms.

    For x (n, d_in) and its target (n, d_out), both normalised, it minimises::

        pre   = x @ weight.T + bias                       (n, n_units)
        codes = activate(pre)                             (n, n_units)
        error = mean (codes @ atoms + learned_output_bias() - target)^2
        total = error + penalty(codes, pre) + auxiliary(codes, pre, target) - dead_weight * revival

    The rows of the atoms (n_units, d_out) have length 1 (:meth:`project`). A family overrides what comes first below.

    On a CPU only the entries that :meth:`select` returns are decoded and differentiated; if there are too many, and on
    a GPU, everything is dense.
    """

    def __init__(self, start: Start, config: SAEConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(start.weight.clone())
        self.bias = nn.Parameter(start.bias.clone())
        self.directions = nn.Parameter(start.atoms.clone())
        self.config = config
        pre_bias = isinstance(config, PreBiasConfig) and config.pre_bias
        self.pre_bias = nn.Parameter(torch.zeros(start.atoms.shape[1])) if pre_bias else None
        if config.auxk and config.auxk > len(start.weight):
            raise UserError(
                f"auxk = {config.auxk}, but there are only {len(start.weight)} units: lower auxk or raise "
                "expansion_factor."
            )
        self.auxk = AuxK(len(start.weight), config.auxk, config.auxk_tokens) if config.auxk else None

    # ---- what a family implements

    def select(self, pre: Tensor) -> SelectedCodes | None:
        """Return the entries of pre (n, n_units) that can be active, or None if dense products are as fast."""
        return None

    def activate(self, pre: Tensor, units: Tensor | None) -> Tensor:
        """Return codes of pre-codes: all of them (n, n_units) if ``units`` is None, else at entries of the given units.

        At entries the selection is already made; in the dense form it is made here.
        """
        return torch.relu(pre)

    def dense(self, computed: Tensor, x: Tensor, bias: Tensor) -> tuple[Codes, Tensor]:
        """Return dense codes, and their pre-codes, of pre-codes on the CPU (detached, may be overwritten)."""
        pre = GivenPreCodes.apply(computed, x, self.weight, bias)
        return Codes(self.activate(pre, None), None, len(x)), pre

    def given(self, codes: DenseCodes, x: Tensor) -> tuple[Codes, Tensor]:
        """Return dense codes that are their pre-codes where not zero, as :meth:`dense` does, of detached ones."""
        return self.given_shifted(codes, self.shifted(x), None)

    def given_shifted(self, codes: DenseCodes, shifted: Tensor, atoms: Tensor | None) -> tuple[Codes, Tensor]:
        """Return dense codes as :meth:`given` does, of inputs less the shift, decoded with atoms if they are given."""
        values, total, decoding = GivenCodes.apply(
            codes.values, codes.total, shifted, self.weight, self.bias, self.input_shift(), atoms
        )
        decoded = None if atoms is None else Decoding(decoding, values, atoms)
        return Codes(values, None, len(shifted), total=total, rows=codes.fires, decoded=decoded), values

    @torch.no_grad()
    def shifted(self, x: Tensor) -> Tensor:
        """Return inputs (n, d_in) less the shift, detached."""
        shift = self.input_shift()
        return x if shift is None else x - shift

    def penalty(self, codes: Codes, pre: Tensor) -> Tensor | float:
        """Return the term added to the reconstruction error; ``pre`` are the pre-codes of ``codes.values``."""
        return 0.0

    def auxiliary(self, codes: Codes, pre: Tensor, target: Tensor) -> Tensor | float:
        """Return a term that depends on the target (n, d_out), such as the error of other codes of the same units."""
        return 0.0

    # ---- what follows from these

    @torch.no_grad()
    def fit_gain(self, *batch: Tensor) -> None:
        """Scale the initial encoder such that the reconstructions of this batch have the best-fitting length.

        Encoder rows that are unit atoms give codes that are correct for each atom alone. Many atoms overlap, so the sum
        is too long: by a factor of 4 if half of eight units per neuron are active.
        """
        self.project()
        x, target = batch[0], batch[-1]
        codes, _ = self.codes(x)
        reconstruction = codes.decode(self.atoms())
        gain = (reconstruction * target).sum() / reconstruction.square().sum().clamp_min(1e-12)
        if bool(gain > 0):
            self.weight.mul_(gain)
            self.bias.mul_(gain)

    def atoms(self) -> Tensor:
        """Return the atoms (n_units, d_out), differentiable."""
        return self.directions

    def input_shift(self) -> Tensor | None:
        """Return what is subtracted from inputs before the encoder (d_in,), or None."""
        return self.pre_bias

    def effective_bias(self) -> Tensor:
        """Return the (n_units,) bias of the encoder for inputs that are not shifted."""
        shift = self.input_shift()
        return self.bias if shift is None else self.bias - self.weight @ shift

    def learned_output_bias(self) -> Tensor | float:
        """Return the (d_out,) bias added to the reconstruction; 0 if only the mean of the tokens is added."""
        return 0.0 if self.pre_bias is None else self.pre_bias

    def adjust_gradients(self) -> None:
        if isinstance(self.config, FreeAtomsConfig) and self.config.remove_parallel_gradient:
            remove_parallel_gradient(self.directions)

    @torch.no_grad()
    def project(self) -> None:
        """Normalise the rows of the dictionary to length 1."""
        self.directions.div_(self.directions.norm(dim=1, keepdim=True) + 1e-8)

    def codes(self, x: Tensor) -> tuple[Codes, Tensor]:
        """Return codes of x (n, d_in), and their pre-codes in the same layout."""
        bias = self.effective_bias()
        if not sparse_here(x) or torch.is_autocast_enabled(x.device.type):
            pre = functional.linear(x, self.weight, bias)
            return Codes(self.activate(pre, None), None, len(x)), pre
        with torch.no_grad():
            computed = functional.linear(x, self.weight, bias)
        return self.selected(computed, x, bias)

    def selected(self, computed: Tensor, x: Tensor, bias: Tensor) -> tuple[Codes, Tensor]:
        """Return codes and pre-codes, at entries if few can be active, of pre-codes on the CPU (detached)."""
        selected = self.select(computed)
        if selected is None:
            return self.dense(computed, x, bias)
        entries = selected.entries
        pre = PreCodesAt.apply(selected.values, x, self.weight, bias, entries)
        return Codes(self.activate(pre, entries.unit_index), entries, len(x)), pre

    def error(self, codes: Codes, target: Tensor) -> Tensor:
        """Return the () mean squared error of the reconstruction."""
        reconstruction, bias = codes.decode(self.atoms()), self.learned_output_bias()
        if sparse_here(reconstruction) and sparse_here(target):
            bias = target.new_full(target.shape[1:], bias) if isinstance(bias, float) else bias
            mean: Tensor = MeanSquare.apply(reconstruction, bias, target)
            return mean
        return (reconstruction + bias - target).square().mean()

    @torch.no_grad()
    def residual(self, codes: Codes, target: Tensor) -> Tensor:
        """Return what the reconstruction leaves of the target (n, d_out), detached."""
        return target - codes.decode(self.atoms()) - self.learned_output_bias()

    def loss(self, *batch: Tensor) -> StepLoss:
        """Return the error plus penalty and AuxK, less the dead-unit term; a batch is (x,) or (x, target)."""
        x, target = batch[0], batch[-1]
        codes, pre = self.codes(x)
        error = self.error(codes, target)
        total = error + self.penalty(codes, pre) + self.auxiliary(codes, pre, target)
        fires = codes.fires()
        dead, weight = fires == 0, self.config.dead_weight_of(len(x))
        # Without dead units the term and its gradients are zero; asking makes a GPU wait.
        if weight and (not sparse_here(x) or bool(dead.any())):
            total = total - weight * revival(x.mean(0), self.weight, self.effective_bias(), dead)
        if self.auxk is not None:
            self.auxk.count(fires, len(x))
            encoder = self.weight, self.effective_bias()
            total = total + self.config.auxk_weight * self.auxk.loss(
                x, self.residual(codes, target), *encoder, self.atoms()
            )
        return StepLoss(total, error, fires)
