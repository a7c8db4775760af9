"""Requests to the worker of the page Steer, a process of this machine that `harness app --steer` has started."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import streamlit as st

from results.app import data

#: Environment variables of the worker's port and token (harness/steering/worker.py).
PORT_VARIABLE, TOKEN_VARIABLE = "HARNESS_STEER_PORT", "HARNESS_STEER_TOKEN"
_TOKEN_HEADER = "X-Harness-Token"
#: Seconds until the first answer, for which a network is loaded, and most bytes of an answer.
_PATIENCE_S, _MOST_BYTES = 900, 16 << 20
_RESTART = "Stop the app with Ctrl-C in its terminal, and start it again with `harness app --steer`."


class WorkerError(Exception):
    """Request that the worker could not answer: one sentence for the reader."""


class Worker(NamedTuple):
    """Address of a worker."""

    port: int
    token: str


def worker() -> Worker | None:
    """Return the worker of this app; None if it was started without one."""
    port, token = os.environ.get(PORT_VARIABLE, ""), os.environ.get(TOKEN_VARIABLE, "")
    is_port = port.isascii() and port.isdecimal() and len(port) <= 5 and 0 < int(port) < 65536
    return Worker(int(port), token) if is_port and token else None


def steerable_cells(address: Worker) -> list[dict[str, Any]]:
    """Return the cells that the worker can steer, with the scorers of their labels; cached until the store changes.

    Raises:
        WorkerError: the worker does not answer.
    """
    return _cells(data.stamp(), address)


def steered(address: Worker, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the effect of a request, cached until the store changes.

    Raises:
        WorkerError: the request is refused, or the worker does not answer.
    """
    return _steered(data.stamp(), address, json.dumps(request, sort_keys=True))


@st.cache_data(max_entries=8, show_spinner=False)
def _cells(stamp: tuple[str, int, int], address: Worker) -> list[dict[str, Any]]:
    cells = _asked(address, "GET", "/cells").get("cells")
    return [cell for cell in cells if isinstance(cell, dict)] if isinstance(cells, list) else []


@st.cache_data(max_entries=64, show_spinner=False)
def _steered(stamp: tuple[str, int, int], address: Worker, request: str) -> dict[str, Any]:
    return _asked(address, "POST", "/steer", request.encode())


def _asked(address: Worker, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
    # Not urllib, which would send the token to a proxy of the environment.
    connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=_PATIENCE_S)
    try:
        with contextlib.closing(connection):
            connection.request(method, path, body, {_TOKEN_HEADER: address.token})
            response = connection.getresponse()
            content = json.loads(response.read(_MOST_BYTES))
    except TimeoutError as error:
        raise WorkerError(f"The worker did not answer within {_PATIENCE_S // 60} minutes. {_RESTART}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise WorkerError(f"The worker does not answer: it has ended. {_RESTART}") from error
    if not isinstance(content, dict) or response.status != 200:
        sentence = content.get("error") if isinstance(content, dict) else None
        raise WorkerError(str(sentence or f"The worker answered with the status {response.status}. {_RESTART}"))
    return content
