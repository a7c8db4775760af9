"""Weights of the Hugging Face Hub: looked up, bounded, downloaded to the Hub's cache, and checked.

The network is used only by :func:`resolve`, and only when the settings name a repository. Without a network, a file
that was downloaded before is found in the cache.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from methods.errors import UserError, first_line
from methods.file_settings import content_of
from methods.pretrained.guarded_client import MOST_LISTING, guarded_client
from methods.pretrained.hub_files import Choice, choices
from methods.pretrained.reading import is_folder_of_a_format
from methods.pretrained.reference import CONFIGURATIONS, HubFile, is_file_name

#: Largest file of weights, and most of all files of a folder together, in bytes.
MOST_BYTES = 8 << 30
#: Largest configuration, in bytes.
MOST_CONFIGURATION = 16 << 20
#: Seconds to wait for an answer.
TIMEOUT = 10.0

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

MISSING = 'Weights of the Hugging Face Hub need the package huggingface_hub: pip install "disentanglement-harness[hf]"'
OLD = "Weights of the Hugging Face Hub need huggingface_hub 1.0 or later: pip install -U huggingface_hub"


class HubWeights(NamedTuple):
    """File or folder of weights in the Hub's cache."""

    path: Path
    repository: str
    revision: str
    """commit that the file is of"""
    file: str
    """path in the repository; empty: the root"""
    names: tuple[str, ...] | None = None
    """names of the files of a folder that are read; None: a file"""

    @property
    def sentence(self) -> str:
        """Sentence on the source of the weights, for readers of results."""
        what = repr(self.file) if self.file else f"the files {', '.join(self.names or ())}"
        return f"The weights are {what} of hf:{self.repository} at revision {self.revision}."

    @property
    def fingerprint(self) -> str:
        """Hash of the content of the file, or of the names and contents of the files that are read."""
        if self.names is None:
            return content_of(self.path)
        digest = hashlib.blake2b(b"files", digest_size=16)
        for name in sorted(self.names):
            digest.update(f"{len(name)}|{name}|{content_of(self.path / name)}|".encode())
        return f"content:{digest.hexdigest()}"


#: What was resolved in this process: one run uses one revision.
_resolved: dict[tuple[str, HubFile, frozenset[str]], HubWeights] = {}


def resolve(wanted: HubFile, also: Collection[str] = ()) -> HubWeights:
    """Return the weights, downloaded unless the Hub's cache has them. A branch is resolved once per process.

    Args:
        wanted: the reference.
        also: names of files that settings name, which are downloaded if the folder of the weights has them.

    Raises:
        UserError: if there is no such repository, revision, file or folder, if a file is too large or not what the Hub
            says, or if it is neither in the cache nor can be downloaded.
    """
    constants = hub_package().constants
    key = (str(constants.ENDPOINT), wanted, frozenset(also))
    if key not in _resolved or not _is_there(_resolved[key]):
        _resolved[key] = (
            _cached(wanted, "HF_HUB_OFFLINE is set", also) if constants.HF_HUB_OFFLINE else _online(wanted, also)
        )
    return _resolved[key]


def _is_there(weights: HubWeights) -> bool:
    names = weights.names
    return weights.path.is_file() if names is None else all((weights.path / name).is_file() for name in names)


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


def _online(wanted: HubFile, also: Collection[str]) -> HubWeights:
    hub = hub_package()
    errors = hub.errors
    try:
        with quiet():
            return _downloaded(wanted, also)
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
            return _cached(wanted, f"the Hub cannot be reached: {type(error).__name__}", also)
        raise UserError(
            f"{str(wanted)!r} could not be downloaded: {_endpoint()} does not answer as the Hugging Face Hub does "
            f"({safe_reason(error)})."
        ) from error


def _downloaded(wanted: HubFile, also: Collection[str]) -> HubWeights:
    hub = hub_package()
    with guarded_client(hub, MOST_LISTING, lambda: _too_many(wanted)):
        info = hub.HfApi().model_info(wanted.repository, revision=wanted.revision, files_metadata=True, timeout=TIMEOUT)
    if not isinstance(info.sha, str) or not _COMMIT.fullmatch(info.sha):
        raise ValueError("the answer has no commit")
    siblings = {one.rfilename: one for one in info.siblings or () if is_file_name(one.rfilename)}
    options = choices(wanted, list(siblings), also)
    for choice in options:
        # Sizes that are wrong here are bounded again by the answers themselves.
        sizes = [getattr(siblings[file], "size", None) for file in choice.files]
        if sum(size for size in sizes if isinstance(size, int)) > MOST_BYTES:
            raise _too_large(wanted, choice.path or choice.files[-1])
        for file in choice.files:
            _download(wanted, siblings[file], info.sha)
        weights = _weights(choice, wanted, _snapshots(wanted.repository) / info.sha)
        if choice is options[-1] or is_folder_of_a_format(weights.path, choice.names):
            break
    return weights


def _download(wanted: HubFile, sibling: Any, commit: str) -> None:
    """Download a file of a commit to the cache, and compare it with what the list of files says."""
    hub, file = hub_package(), str(sibling.rfilename)
    most = MOST_CONFIGURATION if file.endswith(CONFIGURATIONS) else MOST_BYTES
    size, lfs = getattr(sibling, "size", None), getattr(sibling, "lfs", None)
    if size is not None and (not isinstance(size, int) or not 0 <= size <= most):
        raise _too_large(wanted, file, most)
    with guarded_client(hub, most, lambda: _too_large(wanted, file, most)):
        name = hub.hf_hub_download(wanted.repository, file, revision=wanted.revision or "main", etag_timeout=TIMEOUT)
    path = Path(name)
    if not path.is_relative_to(_snapshots(wanted.repository) / commit):
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


def _weights(choice: Choice, wanted: HubFile, snapshot: Path) -> HubWeights:
    names = choice.names if choice.is_folder else None
    path = snapshot / choice.path if choice.path else snapshot
    return HubWeights(path, wanted.repository, snapshot.name, choice.path, names)


def _too_large(wanted: HubFile, file: str, most: int | None = None) -> UserError:
    most = MOST_BYTES if most is None else most
    if most == MOST_CONFIGURATION:
        return UserError(
            f"{file!r} of hf:{wanted.repository} is larger than {most >> 20} MiB, the largest configuration that is "
            "downloaded."
        )
    return UserError(
        f"{file!r} of hf:{wanted.repository} is larger than {most / 2**30:g} GiB, the largest file of weights that is "
        "downloaded."
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


def _cached(wanted: HubFile, reason: str, also: Collection[str]) -> HubWeights:
    """Return the weights in the cache that were downloaded last for this revision."""
    snapshots = _snapshots(wanted.repository)
    commit = _commit_in_cache(snapshots.parent, wanted.revision or "main")
    folder = snapshots / commit if commit else None
    files = (
        [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
        if folder is not None and folder.is_dir()
        else []
    )
    files = [name for name in files if is_file_name(name)]
    is_there = wanted.file is None or any(f"{name}/".startswith(f"{wanted.file}/") for name in files)
    if folder is None or not files or not is_there:
        raise UserError(
            f"{str(wanted)!r} is not in the cache of the Hugging Face Hub on this machine, and cannot be downloaded "
            f"({reason}): download it with a network first, `hf download {wanted.repository}`."
        )
    options = choices(wanted, files, also)
    fitting = (one for one in options[:-1] if is_folder_of_a_format(folder / one.path, one.names))
    return _weights(next(fitting, options[-1]), wanted, folder)


def _commit_in_cache(repository: Path, revision: str) -> str | None:
    if _COMMIT.fullmatch(revision):
        return revision
    try:
        commit = (repository / "refs" / revision).read_text(encoding="utf-8")[:64].strip()
    except (OSError, ValueError):
        return None
    return commit if _COMMIT.fullmatch(commit) else None
