"""Inputs of the tokens of a fit: copied to each GPU once if they fit there, otherwise gathered for every neuron."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from methods.base import Tokens
from methods.elude.spanning_tree import slices
from methods.memory import free_memory, is_out_of_memory
from methods.stored_rows import COPIED_ENTRIES, stored_rows
from methods.tracing import traced

#: Largest size of the copy, as a share of the free memory minus what the lanes need.
SHARE = 0.9


class Inputs:
    """Rows of the field "input". Their values are the same from wherever they come.

    Args:
        tokens: token set of the fit.
        lanes: device of each lane; the inputs are not copied to a CPU, where they are.
        lane_bytes: memory of the device that each lane needs beside the inputs.
    """

    def __init__(self, tokens: Tokens, lanes: Sequence[torch.device], lane_bytes: int) -> None:
        self.tokens = tokens
        self._copies: dict[torch.device, Tensor] = {}
        self._given_up: set[torch.device] = set()
        for device in dict.fromkeys(lane for lane in lanes if lane.type != "cpu"):
            copy = self._copied_to(device, lanes.count(device) * lane_bytes)
            if copy is not None:
                self._copies[device] = copy

    def gather(self, rows: np.ndarray, device: torch.device) -> Tensor:
        """Return the given rows (m,) as float32 (m, d_in) on a device of the lanes."""
        copy = self._copies.get(device)
        if copy is None:
            return self.tokens.gather("input", rows).to(device)
        if device.type == "cuda":
            # The copy was made in the caller's stream: if it gives way, its memory is free when the lanes have read it.
            copy.record_stream(torch.cuda.current_stream(device))
        return copy.index_select(0, torch.from_numpy(np.asarray(rows, np.int64)).to(device)).float()

    def give_way(self, error: BaseException, device: torch.device) -> bool:
        """Free the copy on a device after an error; return True if the work may succeed without it.

        That is: if the error says that memory ran out, and a copy took some of it when the work began.
        """
        if not is_out_of_memory(error):
            return False
        if self._copies.pop(device, None) is not None:
            self._given_up.add(device)
            if device.type == "cuda":
                torch.cuda.empty_cache()
        return device in self._given_up

    @traced("copy of inputs to the device")
    def _copied_to(self, device: torch.device, needed: int) -> Tensor | None:
        """Return all inputs on a device in the type in which they are stored; None if the memory is not enough."""
        n, width = self.tokens.n, self.tokens.width("input")
        dtype = stored_rows(self.tokens, "input", 0, min(1, n)).dtype
        free = free_memory(device)
        if free is None or n * width * dtype.itemsize > SHARE * (free - needed):
            return None
        try:
            copy = torch.empty(n, width, dtype=dtype, device=device)
            for part in slices(n, max(1, COPIED_ENTRIES // width)):
                copy[part] = stored_rows(self.tokens, "input", part.start, part.stop).to(device)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return None
        return copy
