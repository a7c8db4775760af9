"""UMAP before clustering, the paper's ablation (Table 7): fewer dimensions, but not deterministic without a seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from methods.errors import UserError
from methods.tracing import traced

# umap-learn's default is 15 neighbours; min_dist is 0, since the points are to be clustered.
NEIGHBOURS = 15
MIN_DIST = 0.0

#: Implementations of UMAP, the default first. Their embeddings differ, so fits of one are never averaged with fits of
#: the other: the setting is part of a cell's identity.
UmapBackend = Literal["umap-learn", "cuml"]


def reduce_dimensions(directions: Tensor, dims: int, *, seed: int, backend: UmapBackend = "umap-learn") -> Tensor:
    """Return the directions (n, d_in) embedded in (n, dims) float32 by UMAP with the Euclidean metric, on their device.

    umap-learn computes on one thread of the CPU, and a seed gives the same embedding every time, on the same machine.
    cuML computes on the GPU; its documentation promises three equal digits for equal seeds, so labels may differ.

    Raises:
        UserError: if the package is not installed, cuML has no GPU, or there are too few points for ``dims``
            dimensions.
    """
    n = len(directions)
    if n < dims + 2:
        raise UserError(
            f"elude.umap_dims = {dims} needs at least {dims + 2} instances per neuron, but there are {n}: lower it."
        )
    settings = {
        "n_components": dims,
        "n_neighbors": min(NEIGHBOURS, n - 1),
        "min_dist": MIN_DIST,
        "metric": "euclidean",
        "random_state": seed,
    }
    return _BACKENDS[backend](directions, settings).to(directions.device)


@traced("UMAP, on the CPU")
def _umap_learn(directions: Tensor, settings: Mapping[str, Any]) -> Tensor:
    try:
        from umap import UMAP
    except ImportError as error:
        raise UserError(
            "elude.umap_dims needs umap-learn: install it with `pip install 'disentanglement-harness[umap]'`."
        ) from error
    return torch.from_numpy(UMAP(**settings, n_jobs=1).fit_transform(directions.cpu().numpy())).float()


def _cuml(directions: Tensor, settings: Mapping[str, Any]) -> Tensor:
    if directions.device.type != "cuda":
        raise UserError(
            f"elude.umap_backend = 'cuml' computes on an NVIDIA GPU, and the device is {directions.device}: use "
            "--device cuda, or umap_backend = 'umap-learn', which computes on one thread of the CPU."
        )
    try:
        import cupy
        from cuml.manifold import UMAP
    except ImportError as error:
        raise UserError(
            "elude.umap_backend = 'cuml' needs RAPIDS cuML: install it with `pip install "
            "'disentanglement-harness[cuml]'`, or use umap_backend = 'umap-learn'."
        ) from error
    with torch.cuda.device(directions.device):
        # By default cuML takes approximate neighbours above 50,000 points.
        model = UMAP(**settings, build_algo="brute_force_knn", output_type="numpy")
        return torch.from_numpy(model.fit_transform(cupy.from_dlpack(directions.contiguous()))).float()


_BACKENDS: dict[str, Callable[[Tensor, Mapping[str, Any]], Tensor]] = {"umap-learn": _umap_learn, "cuml": _cuml}
