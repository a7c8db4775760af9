"""Tokens at which a unit is most active: closed forms, ties, and a brute-force twin."""

from __future__ import annotations

import pytest
import torch

from methods.errors import UserError
from methods.patch_choice import strongest


def test_the_largest_signed_activations_are_chosen_and_ties_go_to_the_lower_token() -> None:
    activations = torch.tensor([[1.0, -9.0], [3.0, -1.0], [3.0, -1.0], [0.0, -2.0]])
    assert strongest(activations, 1).nonzero().tolist() == [[1, 0], [1, 1]]
    assert strongest(activations, 2)[:, 0].tolist() == [False, True, True, False]
    assert (
        not strongest(activations, 0).any() and strongest(activations, None).all() and strongest(activations, 9).all()
    )


@pytest.mark.parametrize("patches", [0, 1, 4, 7, 20, None])
def test_it_is_what_sorting_each_unit_of_each_image_gives(patches: int | None) -> None:
    generator = torch.Generator().manual_seed(3)
    activations = torch.randint(-3, 4, (4, 9, 5), generator=generator).float()
    eligible = torch.tensor([0, 1, 1, 0, 1, 1, 1, 1, 1], dtype=torch.bool)
    mask = strongest(activations, patches, eligible)
    for image in range(4):
        for unit in range(5):
            order = sorted(eligible.nonzero()[:, 0].tolist(), key=lambda t: -float(activations[image, t, unit]))
            assert mask[image, :, unit].nonzero()[:, 0].tolist() == sorted(order[:patches])


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(UserError, match="patches = -2"):
        strongest(torch.zeros(3, 1), -2)
