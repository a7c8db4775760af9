"""Similarity of tokens of different images by kind of token: CLS, each register, and patches."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class TokenKinds(NamedTuple):
    """Kind of each token of an image: 0, 1, ... are CLS and the registers, the last kind is that of all patches."""

    of: Tensor
    """(T,) int64"""
    n: int
    """number of kinds, of which the last may have no tokens"""

    def one_hot(self) -> Tensor:
        """Return (T, n) float64."""
        return functional.one_hot(self.of, self.n).double()


def token_kinds(positions: Tensor) -> TokenKinds:
    """Return the kinds of tokens at ``positions`` (T,): CLS is -1, registers are below, patches are not negative."""
    prefix = positions < 0
    n_prefix = int(prefix.sum())
    return TokenKinds(torch.where(prefix, -1 - positions.to(torch.int64), n_prefix), n_prefix + 1)


class KindSimilarity:
    """Mean cosine between random tokens of two kinds in different images, in one pass.

    With m_ik the mean unit vector of the tokens of kind k in image i, it is ``(sum_i m_ik . sum_i m_il - sum_i m_ik .
    m_il) / (n (n - 1))``. Memory is two small matrices. A zero vector has cosine 0 with all others.
    """

    def __init__(self, kinds: TokenKinds) -> None:
        self.n_kinds = kinds.n
        one_hot = kinds.one_hot()
        self._weights = (one_hot / one_hot.sum(0).clamp_min(1)).T
        self._sum = self._within = torch.zeros((), dtype=torch.float64)
        self.n = 0

    def update(self, outputs: Tensor) -> None:
        """Add whole images: outputs (B, T, d)."""
        directions = functional.normalize(outputs.float(), dim=-1)
        means = (self._weights.to(directions) @ directions).double()
        self._sum = self._sum.to(means.device) + means.sum(0)
        self._within = self._within.to(means.device) + (means @ means.mT).sum(0)
        self.n += len(outputs)

    def compute(self) -> Tensor:
        """Return the (kinds, kinds) mean cosines; NaN for fewer than two images."""
        if self.n < 2:
            return torch.full((self.n_kinds, self.n_kinds), torch.nan, dtype=torch.float64)
        return ((self._sum @ self._sum.mT - self._within) / (self.n * (self.n - 1))).cpu()


def kind_shares(kinds: TokenKinds, token: Tensor, active: Tensor) -> Tensor:
    """Return the (n_units, kinds) shares of each unit's top images whose maximum is at a token of each kind.

    Args:
        kinds: kinds of the layer's tokens.
        token: (K, n_units) token of the maximum.
        active: (K, n_units) bool: the images that count. A unit without any has NaN.
    """
    one_hot = kinds.one_hot()[token]
    return (one_hot * active[..., None]).sum(0) / active.sum(0)[:, None]
