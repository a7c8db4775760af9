"""Checkpoint of a training run: parameters, optimiser moments and step, in one file."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from methods.atomic import partial_file


@dataclass
class Checkpoint:
    """Path and interval at which a run is saved. The file is removed when the run is finished.

    Batches are determined by seed, epoch and step, so a resumed run takes the same steps as an uninterrupted one.
    """

    path: Path
    every_seconds: float = 120.0
    _last: float = field(default_factory=time.monotonic)

    def due(self) -> bool:
        return time.monotonic() - self._last >= self.every_seconds

    def save(
        self,
        module: nn.Module,
        optimiser: torch.optim.Optimizer,
        header: dict[str, Any],
        more: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> None:
        """Write the run's state, replacing the previous one; ``more`` are tensors of the loop."""
        tensors = {f"module.{name}": value for name, value in module.state_dict().items()}
        tensors |= {f"loop.{name}": value for name, value in more.items()}
        named = {id(parameter): name for name, parameter in module.named_parameters()}
        for parameter, state in optimiser.state.items():
            tensors.update({f"optimiser.{named[id(parameter)]}.{key}": value for key, value in state.items()})
        whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        try:
            self._write(whole, header)
        except (FileNotFoundError, SafetensorError):
            # Another process with the same fit has finished it and removed the folder while the file was being written.
            self._write(whole, header)
        self._last = time.monotonic()

    def _write(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
        with partial_file(self.path) as partial:
            save_file(tensors, partial, metadata={"checkpoint": json.dumps(header, sort_keys=True)})

    def restore(
        self, module: nn.Module, optimiser: torch.optim.Optimizer, identity: dict[str, Any], more: Sequence[str] = ()
    ) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """Restore a saved run of the same identity; otherwise change nothing and return None.

        Returns:
            The header, and the tensors of the loop named in ``more``, without which a file is not of this version.
        """
        if not self.path.is_file():
            return None
        try:
            with safe_open(str(self.path), framework="pt") as file:
                header: dict[str, Any] = json.loads((file.metadata() or {})["checkpoint"])
                if header["identity"] != json.loads(json.dumps(identity)):
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
                of_loop = {name: tensors[f"loop.{name}"] for name in more}
        except (SafetensorError, KeyError, OSError, json.JSONDecodeError):
            # An unreadable file must not prevent training: the run starts again and overwrites it.
            return None
        module.load_state_dict(
            {name.removeprefix("module."): value for name, value in tensors.items() if name.startswith("module.")}
        )
        for name, parameter in module.named_parameters():
            prefix = f"optimiser.{name}."
            state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            if state:
                optimiser.state[parameter] = {key: value.to(parameter.device) for key, value in state.items()}
        return header, of_loop

    def clear(self) -> None:
        self.path.unlink(missing_ok=True)
