"""BatchTopK sparse autoencoder: the k * n largest codes of a batch of n tokens, and a threshold for evaluation."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from methods import register
from methods.base import MethodSpec, Tokens
from methods.number_types import Real
from methods.sae.autoencoder import Codes
from methods.sae.config import FixedL0Config
from methods.sae.library import Start
from methods.sae.method import ActivationForm, LinearSAE
from methods.sae.warm_up import WithK
from methods.training.batches import Batches
from methods.training.dense_codes import dense_from
from methods.training.entries import DENSE_FROM, SelectedCodes, entries_from
from methods.training.normaliser import Normaliser

#: Number of pre-codes from which a bound of the largest is estimated; twice as many as needed then reach it.
BOUND_SAMPLE = 65_536


class BatchTopKConfig(FixedL0Config):
    """Settings of the BatchTopK SAE."""

    threshold_momentum: Real = Field(
        0.9,
        ge=0,
        lt=1,
        description="momentum of the running threshold of training, which the fit does not depend on: the threshold of "
        "evaluation is measured with the final weights",
    )


class BatchTopKAutoencoder(WithK):
    """Autoencoder whose codes are relu(pre-codes) down to the (k * n)-th largest of the batch."""

    running_threshold: Tensor
    """() running mean of the threshold; NaN before the first batch"""

    def __init__(self, start: Start, config: BatchTopKConfig, k: int) -> None:
        super().__init__(start, config, k)
        self.momentum = config.threshold_momentum
        self.register_buffer("running_threshold", torch.tensor(float("nan")))

    def select(self, pre: Tensor) -> SelectedCodes | None:
        if self.k > DENSE_FROM * pre.shape[1]:
            return None
        values, entries = candidates = self._candidates(pre)
        cut = self._cut(values, len(pre))
        if not cut:
            return candidates
        keep = values >= cut
        return SelectedCodes(values[keep], entries.masked(keep.numpy()))

    def dense(self, computed: Tensor, x: Tensor, bias: Tensor) -> tuple[Codes, Tensor]:
        cut = self._cut(self._candidates(computed).values, len(x))
        return self.given(dense_from(computed, computed.new_full((len(x),), cut)), x)

    def _candidates(self, pre: Tensor) -> SelectedCodes:
        """Return positive entries of pre (n, n_units), among them the k * n largest."""
        # A bound from a sample leaves few values to sort. The last step's threshold may have fallen far since.
        sample = pre.flatten()[:: max(1, pre.numel() // BOUND_SAMPLE) | 1].numpy()
        rank = max(0, len(sample) - 1 - 2 * self.k * len(sample) // pre.shape[1])
        tiny = torch.finfo(pre.dtype).tiny
        candidates = all_from(pre, max(float(np.partition(sample, rank)[rank]), tiny))
        return candidates if len(candidates.values) >= self.k * len(pre) else all_from(pre, tiny)

    def _cut(self, candidates: Tensor, n: int) -> float:
        """Return the (k * n)-th largest of the candidates of n rows, 0 if there are fewer, and note it."""
        rank = len(candidates) - self.k * n
        # Some ten times faster than torch's selection.
        cut = float(np.partition(candidates.numpy(), rank)[rank]) if rank >= 0 else 0.0
        self.note(torch.tensor(cut))
        return cut

    def activate(self, pre: Tensor, units: Tensor | None) -> Tensor:
        active = torch.relu(pre)
        if units is not None:
            return active
        flat = active.detach().flatten()
        largest = torch.topk(flat, min(self.k * len(pre), flat.numel()), sorted=False)
        self.note(largest.values.amin())
        # Not all entries from the threshold on: in bfloat16 a few percent would be equal to it.
        selected = torch.zeros_like(flat, dtype=torch.bool).scatter_(0, largest.indices, True)
        return active * selected.view_as(active)

    @torch.no_grad()
    def note(self, threshold: Tensor) -> None:
        """Add one batch's threshold to the running mean, without waiting for the device."""
        now = threshold.to(self.running_threshold)
        mixed = self.momentum * self.running_threshold + (1 - self.momentum) * now
        self.running_threshold.copy_(torch.where(self.running_threshold.isnan(), now, mixed))

    @torch.no_grad()
    def settle(self, batches: Batches) -> None:
        """Replace the running mean, which lags behind the weights, by the mean threshold of the final weights.

        The mean is that of all tokens: each batch is weighted by their number, since a last batch of a single token has
        a very different threshold.
        """
        observed: list[Tensor] = []
        sizes: list[int] = []
        momentum, self.momentum = self.momentum, 0.0
        for batch in batches.epoch(0):
            self.codes(batch[0])
            observed.append(self.running_threshold.clone())
            sizes.append(len(batch[0]))
        self.momentum = momentum
        thresholds = torch.stack(observed)
        shares = thresholds.new_tensor(sizes) * (len(sizes) / sum(sizes))
        self.running_threshold.copy_((thresholds * shares).mean())


def all_from(pre: Tensor, floor: float) -> SelectedCodes:
    """Return all entries of pre (n, n_units) that are >= floor."""
    entries = entries_from(pre, torch.full((pre.shape[1],), floor), limit=1.0)
    assert entries is not None
    return entries


@register
class BatchTopKSAE(LinearSAE[BatchTopKAutoencoder]):
    """BatchTopK sparse autoencoder (Bussmann et al. 2024): k codes per token on average over the batch.

    Codes at evaluation are the pre-codes that reach one learned threshold.
    """

    spec = MethodSpec(
        name="batchtopk_sae",
        title="BatchTopK SAE",
        family="sae",
        reads="output",
        reference="Bussmann et al. 2024, BatchTopK sparse autoencoders; overcomplete",
        # Version 2: the threshold of evaluation is the mean over tokens, not over batches of unequal size.
        # Version 3: it is the mean over all tokens, not over the first 16,384.
        version=3,
    )
    Config = BatchTopKConfig
    module: ClassVar[type[BatchTopKAutoencoder]] = BatchTopKAutoencoder
    fitted: ClassVar[tuple[str, ...]] = (*LinearSAE.fitted, "threshold")

    threshold: Tensor
    """() smallest code, learned during training"""

    def trainee(self, n_units: int, tokens: Tokens, normaliser: Normaliser, seed: int) -> BatchTopKAutoencoder:
        k = self.config.k_of(self.spec.name, n_units)
        return self.module(self.start(n_units, tokens, seed), self.config, k)

    def keep(self, trainee: BatchTopKAutoencoder) -> None:
        self.threshold = trainee.running_threshold.detach().clone()

    def activate(self, pre: Tensor) -> Tensor:
        active = torch.relu(pre)
        return active * (active >= self.threshold.to(active))

    def activation_form(self) -> ActivationForm:
        # Codes equal to the threshold are kept, and a unit of a JumpReLU must exceed its own.
        below = self.threshold.nextafter(torch.full_like(self.threshold, -torch.inf))
        return ActivationForm("jumprelu", tensors={"threshold": below.expand(len(self.atoms))})
