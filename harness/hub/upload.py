"""Upload of a folder to the Hugging Face Hub, as one commit. The token is the client's own and is never shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import UserError
from harness.hub.config_file import FILE as CONFIG_FILE
from harness.hub.config_file import FORMAT
from methods.pretrained.download import TIMEOUT, hub_package, quiet, safe_reason
from methods.pretrained.guarded_client import MOST_LISTING, guarded_client
from methods.pretrained.reference import HubFile

#: Largest ``config.json`` of an existing repository that is read.
_LARGEST_CONFIG = 4 << 20


class Uploaded(NamedTuple):
    """Commit that holds the files."""

    url: str
    """page of the repository"""
    revision: str


def target_of(to: str) -> str:
    """Return ``USER/NAME`` of ``hf:USER/NAME``.

    Raises:
        UserError: if the target has another form.
    """
    try:
        target = HubFile.of(to)
    except ValueError as error:
        raise UserError(f"--to {to!r}: it must have the form hf:USER/NAME.") from error
    if target.revision is not None or target.file is not None:
        raise UserError(f"--to {to!r}: give hf:USER/NAME without a revision or file; a push is a new commit.")
    return target.repository


def require_upload() -> None:
    """Check, without a network, that an upload is possible.

    Raises:
        UserError: if the client is missing or offline, or nobody is logged in.
    """
    hub = hub_package()
    if hub.constants.HF_HUB_OFFLINE:
        raise UserError("HF_HUB_OFFLINE is set, so nothing can be pushed: unset it, or write the files with --dry-run.")
    if not hub.get_token():
        raise UserError(
            "Nobody is logged in to the Hugging Face Hub: run `hf auth login`, or set HF_TOKEN to a token that may "
            "write; --dry-run FOLDER writes the files without one."
        )


def upload(files: Sequence[Path], repository: str, *, private: bool, message: str, replace: bool = False) -> Uploaded:
    """Create the repository if it does not exist, and commit the files to its main branch.

    Args:
        files: files of one folder; their names are those in the repository.
        repository: ``USER/NAME``.
        private: make a new repository private; an existing one keeps its visibility.
        message: summary of the commit.
        replace: replace the files of a repository that this harness has not written.

    Raises:
        UserError: if the Hub refuses, cannot be reached, does not answer as the Hub does, or has a repository of this
            name with other content.
    """
    require_upload()
    hub = hub_package()
    where = f"hf:{repository}"
    try:
        with quiet(), guarded_client(hub, MOST_LISTING, lambda: ValueError("its answer is too long")):
            return _uploaded(files, repository, private, message, replace)
    except (UserError, KeyboardInterrupt):
        raise
    except hub.errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            raise UserError(
                f"The Hub does not let you write to {where} ({status}): log in with a token that may write to it, "
                "`hf auth login`."
            ) from error
        raise UserError(f"The upload to {where} failed ({safe_reason(error)}); run the command again.") from error
    except Exception as error:
        raise UserError(
            f"The upload to {where} failed ({safe_reason(error)}): check that {hub.constants.ENDPOINT} can be reached "
            "and is a Hugging Face Hub."
        ) from error


def _uploaded(files: Sequence[Path], repository: str, private: bool, message: str, replace: bool) -> Uploaded:
    hub = hub_package()
    api = hub.HfApi()
    if not replace:
        _require_ours(api, repository)
    api.create_repo(repository, private=private, exist_ok=True)
    operations = [hub.CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=str(file)) for file in files]
    commit = api.create_commit(repository, operations, commit_message=message)
    if not isinstance(commit.oid, str) or not commit.oid.isalnum() or len(commit.oid) > 64:
        raise ValueError("the answer names no commit")
    return Uploaded(f"{str(hub.constants.ENDPOINT).rstrip('/')}/{repository}", commit.oid)


def _require_ours(api: Any, repository: str) -> None:
    """Check that a repository is new, empty, or was written by this harness."""
    hub = hub_package()
    try:
        info = api.model_info(repository, timeout=TIMEOUT)
    except hub.errors.RepositoryNotFoundError:
        return
    names = {one.rfilename for one in info.siblings or ()} - {".gitattributes"}
    if not names:
        return
    if CONFIG_FILE in names:
        path = Path(hub.hf_hub_download(repository, CONFIG_FILE, revision=info.sha, etag_timeout=TIMEOUT))
        try:
            content = json.loads(path.read_text(encoding="utf-8")) if path.stat().st_size <= _LARGEST_CONFIG else None
        except ValueError:
            content = None
        if isinstance(content, dict) and content.get("format") == FORMAT:
            return
    raise UserError(
        f"hf:{repository} exists and has files that this harness did not write: give another name, or --replace to "
        "replace its README.md, config.json and model.safetensors."
    )
