"""Small evaluations from Python on a tiny backbone, and objects to evaluate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import harness

SITE = "blocks.1"
SETTINGS = ["probing.crops=1", "probing.tokens_per_image=4", "evaluation.top_images=4"]
METRICS = ["l0", "r2", "agreement", "effective_rank"]
METHOD = "random_dictionary"
TOPK = {"expansion_factor": 2, "k": 4, "epochs": 2, "batch_size": 64}
#: Call of `harness.evaluate` with the small settings.
Evaluate = Callable[..., pd.DataFrame]


class Rotation:
    """Object of a notebook: an orthogonal matrix."""

    def __init__(self, width: int, seed: int = 0) -> None:
        draws = torch.randn(width, width, generator=torch.Generator().manual_seed(seed))
        self.matrix = torch.linalg.qr(draws)[0]

    def encode(self, x: Tensor) -> Tensor:
        return x @ self.matrix

    def decode(self, codes: Tensor) -> Tensor:
        return codes @ self.matrix.T


class ModuleSAE(nn.Module):
    """Module with dropout, which only evaluation switches off."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encoder = nn.Linear(width, 2 * width)
        self.decoder = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(0.5)

    def encode(self, x: Tensor) -> Tensor:
        return torch.relu(self.encoder(self.dropout(x)))

    def decode(self, codes: Tensor) -> Tensor:
        return self.decoder(codes)


def collect(arguments: dict[str, Any], folder: Path, site: str = SITE) -> Any:
    return harness.collect_tokens(
        *("tiny_vit", site, arguments["dataset"]),
        **{"evaluation": 18, "crops": 1, "tokens_per_image": 4, "cache": folder / "cache", "progress": False},
    )


def values(frame: pd.DataFrame) -> dict[str, float]:
    return dict(zip(frame["metric"], frame["value"], strict=True))


def weights_file(folder: Path, width: int) -> Path:
    generator = torch.Generator().manual_seed(3)
    tensors = {"W_enc": torch.randn(width, 2 * width, generator=generator), "b_enc": torch.zeros(2 * width)}
    tensors |= {"W_dec": torch.randn(2 * width, width, generator=generator), "b_dec": torch.zeros(width)}
    save_file(tensors, folder / "mine.safetensors")
    return folder / "mine.safetensors"
