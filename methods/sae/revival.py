"""Loss term that moves units that are dead in a batch towards firing (paper, App. E.1)."""

from __future__ import annotations

from torch import Tensor


def revival(mean_input: Tensor, weight: Tensor, bias: Tensor | None, dead: Tensor) -> Tensor:
    """Return ``1 / (|F| B) sum_s sum_{k in F} pre_codes[s, k]`` for pre-codes ``x @ weight.T + bias``; 0 if F is empty.

    Pre-codes are linear in x, so that their mean over the batch is the pre-code of the mean input: the term and its
    gradient cost one product of a matrix and a vector instead of a pass over all pre-codes. ``mean_input`` (d,) is the
    mean of the batch's inputs (of the residuals in matching pursuit), ``dead`` (n_units,) bool the set F of units that
    are exactly zero on the whole batch; ``weight`` is (n_units, d) and ``bias`` (n_units,).

    overcomplete's ``reanimation_regularizer`` has no 1 / B: see :meth:`methods.sae.config.SparseConfig.dead_weight_of`.
    """
    pre = weight @ mean_input
    if bias is not None:
        pre = pre + bias
    return (pre * dead).sum() / dead.sum().clamp_min(1)
