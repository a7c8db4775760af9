"""Capture of several sites of one network in one forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress

import torch
from torch import Tensor

from harness.activations.site import Captured, Run, Site, Tap
from methods.tracing import DEVICE, traced


class _Stop(Exception):
    """Exception that ends a forward pass once every site has been captured."""


@traced("network", DEVICE)
def capture_sites(
    sites: Sequence[Site], run: Run, images: Tensor, *, to_end: bool = False
) -> tuple[list[Captured], Tensor | None]:
    """Return q and a of each site for a batch of images, from one forward pass.

    They are equal to the bit to what :meth:`harness.activations.site.Site.capture` returns for each site alone.

    Args:
        sites: sites of one network, at different paths.
        run: runs the network.
        images: (B, 3, S, S), on the network's device.
        to_end: True to run the whole network. Otherwise it runs up to the last of the sites.

    Returns:
        q and a in the order of ``sites``, and what ``run`` returns; None instead if the pass ended before.

    Raises:
        UserError: if the pass does not call one of the sites exactly once per image.
    """
    captured: dict[int, Captured] = {}

    def tap_of(number: int) -> Tap:
        def tap(q: Tensor, a: Tensor) -> None:
            captured[number] = Captured(q.detach(), a.detach())
            if not to_end and len(captured) == len(sites):
                raise _Stop

        return tap

    result: Tensor | None = None
    with torch.inference_mode(), suppress(_Stop), ExitStack() as taps:
        for number, site in enumerate(sites):
            taps.enter_context(site.tapped(tap_of(number), len(images)))
        result = run(images)
    return [captured[number] for number in range(len(sites))], result
