"""UMAP before clustering, the paper's ablation (Table 7): fewer dimensions, but not deterministic without a seed."""

from __future__ import annotations

import torch
from torch import Tensor

from methods.errors import UserError

# umap-learn's default is 15 neighbours; min_dist is 0, since the points are to be clustered.
NEIGHBOURS = 15
MIN_DIST = 0.0


def reduce_dimensions(directions: Tensor, dims: int, *, seed: int) -> Tensor:
    """Return the directions (n, d_in) embedded in (n, dims) float32 by UMAP with the Euclidean metric, on the CPU.

    With a seed umap-learn runs on one thread and gives the same embedding every time, on the same machine.

    Raises:
        UserError: if umap-learn is not installed, or there are too few points for ``dims`` dimensions.
    """
    try:
        from umap import UMAP
    except ImportError as error:
        raise UserError(
            "elude.umap_dims needs umap-learn: install it with `pip install 'disentanglement-harness[umap]'`."
        ) from error
    n = len(directions)
    if n < dims + 2:
        raise UserError(
            f"elude.umap_dims = {dims} needs at least {dims + 2} instances per neuron, but there are {n}: lower it."
        )
    model = UMAP(
        n_components=dims,
        n_neighbors=min(NEIGHBOURS, n - 1),
        min_dist=MIN_DIST,
        metric="euclidean",
        random_state=seed,
        n_jobs=1,
    )
    return torch.from_numpy(model.fit_transform(directions.cpu().numpy())).float()
