"""Fast failure without a network, instead of after a minute of retries, and look-ups in the local caches."""

from __future__ import annotations

import importlib.util
import os
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from methods.errors import UserError


@contextmanager
def offline_if_unreachable(*, local: bool = False) -> Iterator[None]:
    """Restrict the Hugging Face client to its cache within the context if the hub's name cannot be resolved.

    The client repeats failed requests with growing pauses, about 50 s for a missing file. Behind a proxy the client is
    left as it is, because names are resolved elsewhere.

    Args:
        local: True if only a local folder is read, so that the hub is never needed.
    """
    try:
        from huggingface_hub import constants
    except ImportError:
        yield
        return
    before = constants.HF_HUB_OFFLINE
    host = urllib.parse.urlparse(constants.ENDPOINT).hostname
    if not before and (local or (host and not urllib.request.getproxies() and not _resolves(host))):
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True


#: Files of weights that transformers and timm write.
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def in_huggingface_cache(repository: str, files: Sequence[str] = _WEIGHTS) -> bool:
    """Return True if one of ``files`` of a Hugging Face ``repository`` is in this machine's cache.

    No network is used.

    Raises:
        UserError: if no repository can have this name.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        return False
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
    except ValueError as error:
        raise UserError(
            f"{repository!r} is no name of a Hugging Face repository: write hf:OWNER/NAME, or hf:PATH of a folder."
        ) from error
    return any(isinstance(try_to_load_from_cache(repository, file), str) for file in files)


def in_torch_cache(file: str) -> bool:
    """Return True if torch.hub has downloaded the checkpoint ``file``. Torch is not imported to find its folder."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = Path(os.environ.get("TORCH_HOME", f"{cache}/torch")).expanduser()
    return (home / "hub" / "checkpoints" / file).is_file()
