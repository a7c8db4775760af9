"""Top images of every unit, kept sorted while batches of images arrive."""

from __future__ import annotations

import torch
from torch import Tensor


class TopLists:
    """The ``size`` largest values of each unit, with their image and token; of equal values, the earlier comes first.

    The lists are rows of (n_units, size), which a thread or a block of a GPU reads in one piece.
    """

    def __init__(self, n_units: int, size: int) -> None:
        self.n_units, self.size = n_units, size
        self.filled = 0
        self._value = torch.zeros((n_units, 0))
        self._image = torch.zeros((n_units, 0), dtype=torch.int64)
        self._token = torch.zeros((n_units, 0), dtype=torch.int64)

    @property
    def value(self) -> Tensor:
        """(K, n_units) float32, descending: a view, like the others; K is ``size`` or the number of values so far."""
        return self._value.T

    @property
    def image(self) -> Tensor:
        """(K, n_units) int64."""
        return self._image.T

    @property
    def token(self) -> Tensor:
        """(K, n_units) int64."""
        return self._token.T

    def update(self, peak: Tensor, token: Tensor, index: Tensor) -> None:
        """Add the values ``peak`` (B, n_units) float32 of the images ``index`` (B,) int64, with their ``token``.

        All tensors are on one device, that of the first update. Values are finite.
        """
        if not self.size:
            return
        if peak.device.type == "cpu":
            self._insert(peak, token, index)
        else:
            self._merge(peak, token, index)
        self.filled = min(self.filled + len(index), self.size)

    def _insert(self, peak: Tensor, token: Tensor, index: Tensor) -> None:
        """Insert one value after the other, which on a CPU is faster than a selection."""
        from harness.activations.unit_kernels import insert_peaks

        capacity = min(self.filled + len(index), self.size)
        if capacity > self.filled:
            self._value, self._image, self._token = (
                torch.cat([state, state.new_empty((self.n_units, capacity - self.filled))], 1)
                for state in (self._value, self._image, self._token)
            )
        lists = (self._value.numpy(), self._image.numpy(), self._token.numpy())
        new = (peak.detach().contiguous().numpy(), token.contiguous().numpy(), index.contiguous().numpy())
        insert_peaks(*lists, self.filled, *new)

    def _merge(self, peak: Tensor, token: Tensor, index: Tensor) -> None:
        """Select the largest of old and new values of the units that change."""
        capacity = min(self.filled + len(index), self.size)
        rows = None
        if self.filled == self.size:
            # An equal value is not inserted: the earlier one stays.
            rows = torch.nonzero((peak > self._value[:, -1]).any(0))[:, 0]
            if not len(rows):
                return
            peak, token = peak[:, rows], token[:, rows]
        old = [state.to(peak.device) for state in (self._value, self._image, self._token)]
        old = old if rows is None else [state[rows] for state in old]
        new = (peak.T, index.expand(peak.shape[1], -1), token.T)
        joined = [torch.cat(pair, 1) for pair in zip(old, new, strict=True)]
        order = stable_keys(joined[0]).topk(capacity, dim=1).indices
        merged = [state.gather(1, order) for state in joined]
        if rows is None:
            self._value, self._image, self._token = merged
            return
        for state, part in zip((self._value, self._image, self._token), merged, strict=True):
            state[rows] = part


def stable_keys(values: Tensor) -> Tensor:
    """Return distinct int64 keys of finite float32 ``values`` (n, m), in the order of a stable descending sort.

    A larger value has a larger key; of equal values in a row, the one further left has. The high half of a key holds
    the bits of the value, the low half the column from the right, so that a selection without stable ties keeps them.
    """
    # The bits of a negative number grow with its magnitude, so they are inverted. -0.0 equals 0.0.
    bits = torch.where(values == 0, 0.0, values).contiguous().view(torch.int32)
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(torch.int64)
    from_right = torch.arange(values.shape[1] - 1, -1, -1, device=values.device)
    return ordered * 2**32 + from_right
