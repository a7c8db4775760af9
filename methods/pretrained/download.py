"""Weights of the Hugging Face Hub: looked up, bounded, downloaded to the Hub's cache, and checked.

The network is used only by :func:`resolve`, and only when the settings name a repository. Without a network, a file
that was downloaded before is found in the cache.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from methods.errors import UserError, first_line
from methods.pretrained.guarded_client import MOST_LISTING, guarded_client
from methods.pretrained.reference import HubFile, is_file_name
from methods.registry import nearest
from results.visible_text import names_text

#: Largest file of weights, in bytes.
MOST_BYTES = 8 << 30
#: Seconds to wait for an answer.
TIMEOUT = 10.0

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

MISSING = 'Weights of the Hugging Face Hub need the package huggingface_hub: pip install "disentanglement-harness[hf]"'
OLD = "Weights of the Hugging Face Hub need huggingface_hub 1.0 or later: pip install -U huggingface_hub"


class HubWeights(NamedTuple):
    """File of weights in the Hub's cache."""

    path: Path
    repository: str
    revision: str
    """commit that the file is of"""
    file: str

    @property
    def sentence(self) -> str:
        """Sentence on the source of the weights, for readers of results."""
        return f"The weights are {self.file!r} of hf:{self.repository} at revision {self.revision}."


#: What was resolved in this process: one run uses one revision.
_resolved: dict[tuple[str, HubFile], HubWeights] = {}


def resolve(wanted: HubFile) -> HubWeights:
    """Return the file of weights, downloaded unless the Hub's cache has it. A branch is resolved once per process.

    Raises:
        UserError: if there is no such repository, revision or safetensors file, if the file is too large or not what
            the Hub says, or if it is neither in the cache nor can be downloaded.
    """
    constants = hub_package().constants
    key = (str(constants.ENDPOINT), wanted)
    if key not in _resolved or not _resolved[key].path.is_file():
        _resolved[key] = _cached(wanted, "HF_HUB_OFFLINE is set") if constants.HF_HUB_OFFLINE else _online(wanted)
    return _resolved[key]


def hub_package() -> Any:
    """Return the module ``huggingface_hub``.

    Raises:
        UserError: if it is not installed; the message names the extra.
    """
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ImportError as error:
        raise UserError(f"{MISSING} ({first_line(error)})") from error
    if not hasattr(huggingface_hub, "set_client_factory"):
        raise UserError(f"{OLD} (this is {huggingface_hub.__version__})")
    return huggingface_hub


def safe_reason(error: BaseException) -> str:
    """Return the first line of an error without the access token, which an answer of a server may repeat."""
    text = first_line(error)
    token = hub_package().get_token()
    return text.replace(token, "***") if token else text


@contextmanager
def quiet() -> Iterator[None]:
    """Hide the client's progress bars and its warnings about retries within the context."""
    import logging

    logger = logging.getLogger("huggingface_hub")
    level, bars = logger.level, hub_package().utils
    had_bars = not bars.are_progress_bars_disabled()
    logger.setLevel(logging.ERROR)
    if had_bars:
        bars.disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if had_bars:
            bars.enable_progress_bars()


# ---- with a network


def _online(wanted: HubFile) -> HubWeights:
    hub = hub_package()
    errors = hub.errors
    try:
        with quiet():
            return _downloaded(wanted)
    except errors.GatedRepoError as error:
        raise UserError(
            f"hf:{wanted.repository} is gated: ask for access on its page, log in with `hf auth login`, and try again."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"There is no repository hf:{wanted.repository} that you may read: check the name, or log in with "
            "`hf auth login` if it is private."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(f"hf:{wanted.repository} has no revision {wanted.revision!r}: give one that exists.") from error
    except errors.HfHubHTTPError as error:
        if getattr(error.response, "status_code", None) == 401:
            raise UserError(f"The Hub asks for a login to read hf:{wanted.repository}: `hf auth login`.") from error
        raise UserError(f"{str(wanted)!r} could not be downloaded ({safe_reason(error)}).") from error
    except (UserError, KeyboardInterrupt):
        raise
    except Exception as error:
        if _is_no_answer(error):
            return _cached(wanted, f"the Hub cannot be reached: {type(error).__name__}")
        raise UserError(
            f"{str(wanted)!r} could not be downloaded: {_endpoint()} does not answer as the Hugging Face Hub does "
            f"({safe_reason(error)})."
        ) from error


def _downloaded(wanted: HubFile) -> HubWeights:
    hub = hub_package()
    with guarded_client(hub, MOST_LISTING, lambda: _too_many(wanted)):
        info = hub.HfApi().model_info(wanted.repository, revision=wanted.revision, files_metadata=True, timeout=TIMEOUT)
    if not isinstance(info.sha, str) or not _COMMIT.fullmatch(info.sha):
        raise ValueError("the answer has no commit")
    siblings = {one.rfilename: one for one in info.siblings or () if is_file_name(one.rfilename)}
    file = _chosen(wanted, list(siblings))
    size, lfs = getattr(siblings[file], "size", None), getattr(siblings[file], "lfs", None)
    if size is not None and (not isinstance(size, int) or not 0 <= size <= MOST_BYTES):
        raise _too_large(wanted, file)
    with guarded_client(hub, MOST_BYTES, lambda: _too_large(wanted, file)):
        name = hub.hf_hub_download(wanted.repository, file, revision=wanted.revision or "main", etag_timeout=TIMEOUT)
    path = Path(name)
    if not path.is_relative_to(_snapshots(wanted.repository) / info.sha):
        raise UserError(f"hf:{wanted.repository} changed while it was downloaded: try again, or name a commit.")
    expected = getattr(lfs, "sha256", None)
    if not isinstance(expected, str) or not _SHA256.fullmatch(expected):
        expected = None
    if (size is not None and path.stat().st_size != size) or (expected is not None and _sha256(path) != expected):
        # Otherwise the next run would find the wrong content in the cache.
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise UserError(
            f"The content of {file!r} is not what hf:{wanted.repository} says it is (size or SHA-256 differ); it was "
            "removed from the cache. Try again; if it stays so, do not use these weights."
        )
    return HubWeights(path, wanted.repository, info.sha, file)


def _chosen(wanted: HubFile, files: Sequence[str]) -> str:
    """Return the safetensors file of a repository that is meant."""
    if not files:
        raise UserError(
            f"hf:{wanted.repository} has no safetensors file. Other formats of weights are never loaded, because they "
            "can run code; ask its author for safetensors."
        )
    if wanted.file is not None:
        if wanted.file not in files:
            raise UserError(
                f"hf:{wanted.repository} has no file {wanted.file!r}. {nearest(wanted.file, files)}"
                f"Its safetensors files are {names_text(sorted(files), 10)}."
            )
        return wanted.file
    if "model.safetensors" in files:
        return "model.safetensors"
    if len(files) > 1:
        raise UserError(
            f"hf:{wanted.repository} has {len(files)} safetensors files: name one of them, as in "
            f"hf:{wanted.repository}/FILE. They are {names_text(sorted(files), 10)}."
        )
    return files[0]


def _too_large(wanted: HubFile, file: str) -> UserError:
    return UserError(
        f"{file!r} of hf:{wanted.repository} is larger than {MOST_BYTES / 2**30:g} GiB, the largest file of weights "
        "that is downloaded."
    )


def _too_many(wanted: HubFile) -> UserError:
    return UserError(
        f"The list of files of hf:{wanted.repository} is larger than {MOST_LISTING >> 20} MiB, and no more is read."
    )


def _is_no_answer(error: Exception) -> bool:
    """Return True if the Hub could not be reached, whatever HTTP library the client uses."""
    names = {cls.__name__ for cls in type(error).__mro__}
    return bool(
        names
        & {"ConnectionError", "ConnectError", "TimeoutException", "Timeout", "NetworkError", "OfflineModeIsEnabled"}
        | names & {"LocalEntryNotFoundError", "RemoteProtocolError", "ProxyError"}
    )


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _endpoint() -> str:
    return str(hub_package().constants.ENDPOINT)


# ---- without a network


def _snapshots(repository: str) -> Path:
    cache = Path(hub_package().constants.HF_HUB_CACHE).expanduser()
    return cache / f"models--{repository.replace('/', '--')}" / "snapshots"


def _cached(wanted: HubFile, reason: str) -> HubWeights:
    """Return the file in the cache that was downloaded last for this revision."""
    snapshots = _snapshots(wanted.repository)
    commit = _commit_in_cache(snapshots.parent, wanted.revision or "main")
    folder = snapshots / commit if commit else None
    files = (
        [name for path in sorted(folder.rglob("*.safetensors")) if is_file_name(name := str(path.relative_to(folder)))]
        if folder is not None and folder.is_dir()
        else []
    )
    if folder is None or not files or (wanted.file is not None and wanted.file not in files):
        raise UserError(
            f"{str(wanted)!r} is not in the cache of the Hugging Face Hub on this machine, and cannot be downloaded "
            f"({reason}): download it with a network first, `hf download {wanted.repository}`."
        )
    file = _chosen(wanted, files)
    return HubWeights(folder / file, wanted.repository, folder.name, file)


def _commit_in_cache(repository: Path, revision: str) -> str | None:
    if _COMMIT.fullmatch(revision):
        return revision
    try:
        commit = (repository / "refs" / revision).read_text(encoding="utf-8")[:64].strip()
    except (OSError, ValueError):
        return None
    return commit if _COMMIT.fullmatch(commit) else None
