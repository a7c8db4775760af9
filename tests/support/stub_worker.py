"""Worker of the page Steer with a stub in place of the network."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from harness.steering.steer_request import SteerRequest
from harness.steering.worker_server import WorkerServer

TOKEN = "stub-token"


def cell(cell_id: str, *scorers: str, **changes: Any) -> dict[str, Any]:
    """Cell as the worker lists it."""
    named = {"label": "ELUDe", "backbone": "vit", "site": "blocks.9.mlp.fc2", "token_seed": 42, "init_seed": 42}
    return {"cell_id": cell_id, **named, "scorers": list(scorers), **changes}


def answer(request: SteerRequest, **changes: Any) -> dict[str, Any]:
    """Effect in which the class dog rises with alpha, and two units are changed at three patches."""
    rise = min(0.09 * request.settings.alpha, 0.8)
    classes = [
        {"name": "dog", "before": 0.02, "after": 0.02 + rise, "control": 0.03},
        {"name": "cat", "before": 0.9, "after": 0.9 - rise, "control": 0.88},
        {"name": "tree", "before": 0.08, "after": 0.08, "control": 0.09},
    ]
    image = {"image": 0, "name": request.images[0], "divergence": 0.5, "control_divergence": 0.01}
    units = [
        {"unit": 4, "concept": "dog", "label": "dog", "similarity": 1.0, "factor": request.settings.alpha},
        {"unit": 7, "concept": "dog", "label": "dog house", "similarity": 0.5, "factor": request.settings.alpha},
    ]
    return {
        "method": "ELUDe",
        "layer": "A ViT, blocks.9.mlp.fc2",
        "grid": 4,
        "n_images": 1,
        "units": units,
        "gained": [["dog", rise]],
        "lost": [["cat", -rise]],
        "images": [{**image, "touched": [[0, 1], [5, 2], [15, 1]], "classes": classes}],
        "cell": request.cell,
        "matcher": "words@1",
        "classes": classes,
        **changes,
    }


@contextlib.contextmanager
def stub_worker(
    steer: Callable[[SteerRequest], Mapping[str, Any]], cells: list[dict[str, Any]]
) -> Iterator[dict[str, str]]:
    """Start a worker in this process; yields the environment variables of the app."""
    server = WorkerServer(TOKEN, steer, lambda: cells)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield {"HARNESS_STEER_PORT": str(server.port), "HARNESS_STEER_TOKEN": TOKEN}
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
