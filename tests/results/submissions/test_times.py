"""Times of a store that no calendar has."""

from __future__ import annotations

import pytest

from results.errors import StoreError
from results.submissions.documents import from_row


@pytest.mark.parametrize("microseconds", [-(2**62), 2**62])
def test_an_impossible_time_is_one_sentence(microseconds: int) -> None:
    with pytest.raises(StoreError, match="has an impossible time in 'started_at'"):
        from_row({"started_at": microseconds}, {"started_at": None})
