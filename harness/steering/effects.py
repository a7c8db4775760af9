"""Change of a class distribution by an intervention.

For probabilities p before and p' after, and a set of target classes with the mass ``P = sum of p over the targets``:

- gain: ``logit(P') - logit(P)``, the rise of the target's log-odds, in nats;
- divergence: ``KL(p || p') = sum of p log(p / p')``, in nats.
"""

from __future__ import annotations

import torch
from torch import Tensor


def divergence(before: Tensor, after: Tensor) -> Tensor:
    """Return ``KL(p || p')`` (n,) in nats of logits (n, C) before and after."""
    first, second = (torch.log_softmax(logits.double(), 1) for logits in (before, after))
    return (first.exp() * (first - second)).sum(1)


def target_gain(before: Tensor, after: Tensor, targets: Tensor) -> Tensor:
    """Return the rise of the log-odds (n,) of the target classes.

    Args:
        before: logits (n, C).
        after: logits (n, C).
        targets: (C,) bool, True for at least one and not for all classes.
    """
    return log_odds(after, targets) - log_odds(before, targets)


def log_odds(logits: Tensor, targets: Tensor) -> Tensor:
    """Return ``logit(P)`` (n,) of the target classes for logits (n, C)."""
    wide = logits.double()
    return wide[:, targets].logsumexp(1) - wide[:, ~targets].logsumexp(1)
