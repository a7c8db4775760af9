"""The tokens of a neuron: never more, fewer or other rows than there are."""

from __future__ import annotations

import numpy as np
import pytest

import methods
from methods.elude.instances import top_rows


@pytest.mark.parametrize("top_k", [0, 1, 3, 9, 10, 11])
def test_nan_has_no_rank(top_k: int) -> None:
    """NaN is above no threshold, so that rows were left unwritten: 3472943212117716067 was one of them."""
    for count in (1, 4, 10):
        values = np.arange(10, dtype=np.float32)
        values[-count:] = np.nan
        with pytest.raises(methods.UserError, match=rf"value {10 - count} of 10 is NaN"):
            top_rows(values, top_k)


@pytest.mark.parametrize("values", [[3, 1, 3, 2], [np.inf, -np.inf, 0, np.inf], [0, 0, 0, 0], [-0.0, 0.0, 1, 1]])
def test_ties_and_infinity_are_ranked(values: list[float]) -> None:
    array = np.array(values, dtype=np.float32)
    for top_k in range(6):
        expected = np.sort(np.argsort(-array, kind="stable")[:top_k])
        np.testing.assert_array_equal(top_rows(array, top_k), expected)


def test_fewer_than_no_rows_are_refused() -> None:
    with pytest.raises(methods.UserError, match="top_k = -1"):
        top_rows(np.zeros(3, np.float32), -1)
    assert len(top_rows(np.zeros(0, np.float32), 2)) == 0
