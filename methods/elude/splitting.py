"""Splitting of a neuron into sub-units by the clusters of its contributions (ELUDe, section 3.3, eq. 2 to 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from methods.additive import remainder_last
from methods.elude.contributions import Summary, as_they_are, normalise, summarise
from methods.elude.objectives import OBJECTIVES, Objective, best_of
from methods.errors import ArgumentError
from methods.requirements import is_finite
from methods.tracing import traced

WinnerRule = Literal["unique", "first", "gap"]
Scores = Literal["absolute", "signed"]

#: Values of the margin that are tried, {0.05, 0.10, ..., 1.00}.
MARGINS = tuple(step / 20 for step in range(1, 21))


class Split(NamedTuple):
    """One neuron split into K sub-units; K = 1 means that it was not split."""

    weights: Tensor
    """(K, d_in), rows sum to the neuron's weights"""
    biases: Tensor
    """(K,), summing to the neuron's bias"""
    rho: float
    """The chosen margin; NaN if there was nothing to split."""
    shares: Tensor
    """(K, d_in): the part alpha of each input dimension that each sub-unit gets; columns sum to 1"""


def split(
    weight_u: Tensor,
    bias_u: Tensor | float,
    contributions: Tensor,
    labels: Tensor,
    probabilities: Tensor,
    *,
    winner_rule: WinnerRule = "unique",
    scores: Scores = "absolute",
    objective: Objective = "contrast",
    margins: Sequence[float] = MARGINS,
    unit_length: bool = True,
) -> Split:
    """Split one neuron by the clusters of its contribution vectors, with the margin of largest objective.

    Ties go to the smallest margin.

    Args:
        weight_u: (d_in,) the neuron's weights W_u.
        bias_u: the neuron's bias b_u.
        contributions: (n, d_in) raw contributions ``W_u * q``; normalised inside if ``unit_length``.
        labels: (n,) cluster of each row, 0 .. K-1, -1 for noise.
        probabilities: (n,) membership probabilities in [0, 1].
        winner_rule: rule for the set of sub-units that wins a dimension, see :func:`winning_shares`.
        scores: a sub-unit's score on a dimension, see :func:`claims`.
        objective: quantity that the chosen margin maximises, see :mod:`methods.elude.objectives`.
        margins: values of rho that are tried; a single one is taken as it is.
        unit_length: divide contributions by their length, as the paper does.

    Raises:
        ArgumentError: for shapes that do not fit, NaN or infinity, labels that do not number the clusters,
            probabilities outside [0, 1], a margin outside (0, 1], or an unknown rule.
    """
    _check_shapes(weight_u, bias_u, contributions, labels, probabilities)
    _check_values(weight_u, bias_u, contributions, probabilities)
    _check_rules(winner_rule, scores, objective)
    labels = _checked_labels(labels)
    n_clusters = int(labels.max()) + 1 if len(labels) else 0
    if n_clusters < 2:
        return unsplit(weight_u, bias_u)
    home = contributions.device
    vectors = (normalise if unit_length else as_they_are)(contributions)
    summary = summarise(vectors, labels.to(home), probabilities.to(home), n_clusters)
    return split_by(
        weight_u, bias_u, summary, winner_rule=winner_rule, scores=scores, objective=objective, margins=margins
    )


def unsplit(weight_u: Tensor, bias_u: Tensor | float) -> Split:
    """Return the neuron unchanged, as its only sub-unit."""
    bias = torch.as_tensor(bias_u, dtype=weight_u.dtype, device=weight_u.device)
    return Split(weight_u[None].clone(), bias.reshape(1).clone(), float("nan"), torch.ones_like(weight_u)[None])


@traced("division of a neuron")
def split_by(
    weight_u: Tensor,
    bias_u: Tensor | float,
    summary: Summary,
    *,
    winner_rule: WinnerRule = "unique",
    scores: Scores = "absolute",
    objective: Objective = "contrast",
    margins: Sequence[float] = MARGINS,
) -> Split:
    """Run :func:`split` from the representatives and means of at least two clusters.

    Raises:
        ArgumentError: for an unknown rule, or a margin outside (0, 1].
    """
    _check_rules(winner_rule, scores, objective)
    ordered = _ordered_margins(margins)
    bias = torch.as_tensor(bias_u, dtype=weight_u.dtype, device=weight_u.device)
    claimed = claims(summary.representatives, scores)
    candidates = torch.stack([winning_shares(claimed, rho, winner_rule) for rho in ordered])
    best = best_of(OBJECTIVES[objective](candidates @ summary.means.T))
    shares = candidates[best]
    weights, biases = remainder_last(
        weight_u, bias, shares.to(weight_u.device) * weight_u.double(), shares.mean(1).to(bias.device) * bias.double()
    )
    return Split(weights, biases, ordered[best], shares.to(weight_u))


def claims(representatives: Tensor, scores: Scores) -> Tensor:
    """Return the scores (K, d_in), at least 0, that eq. 3 compares.

    ``absolute``: ``|r|``, the paper's. ``signed``: ``max(r, 0)``. A dimension that inhibits a sub-unit then gives it a
    score of 0: the sub-unit neither wins it nor keeps another one from winning it. A dimension that excites no sub-unit
    is shared by all. (Eq. 3 with ``r`` itself would let a set of negative scores win by any margin, since ``rho r > r``
    for ``r < 0``.)
    """
    return representatives.abs() if scores == "absolute" else representatives.clamp_min(0)


def winning_shares(scores: Tensor, rho: float, rule: WinnerRule = "unique") -> Tensor:
    """Return the shares alpha (K, d) of every dimension for one margin (eq. 3 and 4), from scores (K, d) >= 0.

    A set S wins dimension j if ``rho * min_{c in S} score > max_{c' not in S} score``. Only prefixes of the scores
    sorted from large to small can satisfy that, so there are K-1 candidates per dimension (the set of all sub-units
    leaves none outside and is the same as no winner). ``unique``: S wins if exactly one prefix qualifies (the paper's
    words; for K >= 3 this is not monotone in rho). ``first``: the smallest that qualifies. ``gap``: of those that
    qualify, the one before the largest relative drop.
    """
    n_subunits = len(scores)
    ordered, order = torch.sort(scores, dim=0, descending=True, stable=True)
    above, below = ordered[:-1], ordered[1:]
    qualifies = rho * above > below
    if rule == "unique":
        size = torch.where(qualifies.sum(0) == 1, qualifies.to(torch.int64).argmax(0) + 1, n_subunits)
    elif rule == "first":
        size = torch.where(qualifies.any(0), qualifies.to(torch.int64).argmax(0) + 1, n_subunits)
    else:
        drop = torch.where(qualifies, below / above.clamp_min(torch.finfo(scores.dtype).tiny), torch.inf)
        size = torch.where(qualifies.any(0), drop.argmin(0) + 1, n_subunits)
    rank = torch.empty_like(order)
    rank.scatter_(0, order, torch.arange(n_subunits, device=scores.device)[:, None].expand_as(order).contiguous())
    return (rank < size).to(scores.dtype) / size.to(scores.dtype)


def _check_shapes(
    weight_u: Tensor, bias_u: Tensor | float, contributions: Tensor, labels: Tensor, probabilities: Tensor
) -> None:
    tensors = {
        "weight_u": weight_u, "contributions": contributions, "labels": labels, "probabilities": probabilities
    }  # fmt: skip
    for name, value in tensors.items():
        if not isinstance(value, Tensor):
            raise ArgumentError(f"split: {name} is a {type(value).__name__}; it must be a torch.Tensor.")
    if torch.as_tensor(bias_u).numel() != 1:
        raise ArgumentError(f"split: bias_u has shape {tuple(torch.as_tensor(bias_u).shape)}; it must be one number.")
    if weight_u.ndim != 1 or contributions.ndim != 2 or contributions.shape[1] != len(weight_u):
        raise ArgumentError(
            f"split: weight_u has shape {tuple(weight_u.shape)} and contributions {tuple(contributions.shape)}; "
            "they must be (d_in,) and (n, d_in)."
        )
    if labels.shape != (len(contributions),) or probabilities.shape != labels.shape:
        raise ArgumentError(
            f"split: labels {tuple(labels.shape)} and probabilities {tuple(probabilities.shape)} must both be "
            f"({len(contributions)},), one for each contribution."
        )


def _check_values(weight_u: Tensor, bias_u: Tensor | float, contributions: Tensor, probabilities: Tensor) -> None:
    if not weight_u.is_floating_point():
        raise ArgumentError(f"split: weight_u has the dtype {weight_u.dtype}; it must be floating-point numbers.")
    for name, values in (
        ("weight_u", weight_u),
        ("bias_u", torch.as_tensor(bias_u)),
        ("contributions", contributions),
        ("probabilities", probabilities),
    ):
        if values.is_complex() or not is_finite(values):
            raise ArgumentError(f"split: {name} must be real numbers, without NaN and infinity.")
    if len(probabilities) and bool(((probabilities < 0) | (probabilities > 1)).any()):
        low, high = float(probabilities.min()), float(probabilities.max())
        raise ArgumentError(f"split: probabilities lie between {low} and {high}; they must lie in [0, 1].")


def _checked_labels(labels: Tensor) -> Tensor:
    """Return labels (n,) as int64; they must be -1 (noise) and 0 .. K-1, each of the latter at least once."""
    whole = labels.long() if not labels.is_floating_point() or bool(labels.isfinite().all()) else None
    if whole is None or labels.is_complex() or bool((whole != labels).any()):
        raise ArgumentError("split: labels must be whole numbers: 0 .. K-1 for clusters, -1 for noise.")
    present = whole.unique()
    clusters = present[present >= 0]
    if bool((present < -1).any()) or not torch.equal(clusters, torch.arange(len(clusters), device=clusters.device)):
        listed = ", ".join(map(str, present[:20].tolist()))
        raise ArgumentError(f"split: the labels are {listed}; they must be 0 .. K-1 without a gap, and -1 for noise.")
    return whole


def _ordered_margins(margins: Sequence[float]) -> list[float]:
    """Return the margins in ascending order, so that ties go to the smallest."""
    ordered = sorted({float(margin) for margin in margins})
    if not ordered or not all(0 < margin <= 1 for margin in ordered):
        raise ArgumentError(
            f"split: margins = {list(margins)!r}; they must lie above 0 and be at most 1, at least one."
        )
    return ordered


def _check_rules(winner_rule: str, scores: str, objective: str) -> None:
    for name, value, allowed in (
        ("winner_rule", winner_rule, get_args(WinnerRule)),
        ("scores", scores, get_args(Scores)),
        ("objective", objective, get_args(Objective)),
    ):
        if value not in allowed:
            raise ArgumentError(f"split: {name} = {value!r}; it must be one of {', '.join(allowed)}.")
