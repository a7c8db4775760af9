"""Setting that names weights: a file or folder, or a repository of the Hugging Face Hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from methods.file_settings import Replace
from methods.pretrained.source import PICKLED

#: Start of a reference to the Hub.
PREFIX = "hf:"
#: Ending of weights that hold tensors and nothing else.
SUFFIX = ".safetensors"
#: Endings of files of weights. Of pickled ones, only tensors and plain values are read.
SUFFIXES = (SUFFIX, *PICKLED)
#: Endings of the files that a format may have beside its weights.
CONFIGURATIONS = (".json", ".yaml", ".yml")
#: Form of a reference to the Hub, for messages.
FORM = "hf:USER/NAME[@REVISION][/PATH]"
#: Most characters of a reference.
LONGEST = 1000

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_REPOSITORY = re.compile(
    rf"(?P<repository>{_NAME}/{_NAME})(?:@(?P<revision>refs/pr/\d+|[^/@]*))?(?:/(?P<file>.*))?", re.S
)
_REVISION = re.compile(r"refs/pr/\d{1,9}|[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


class HubFile(NamedTuple):
    """File or folder of a repository of the Hub, as it was asked for."""

    repository: str
    """``USER/NAME``"""
    revision: str | None
    """branch, tag or commit; None: the main branch"""
    file: str | None
    """path of a file or folder in the repository; None: the dictionary in it, if there is one alone"""

    def __str__(self) -> str:
        revision = "" if self.revision is None else f"@{self.revision}"
        return f"{PREFIX}{self.repository}{revision}{'' if self.file is None else f'/{self.file}'}"

    @classmethod
    def of(cls, text: str) -> HubFile:
        """Return the parts of ``hf:USER/NAME[@REVISION][/PATH]``.

        Raises:
            ValueError: if the text has another form or leads out of the repository; the message says which.
        """
        matched = _REPOSITORY.fullmatch(text.removeprefix(PREFIX)) if text.startswith(PREFIX) else None
        if matched is None or ".." in matched["repository"] or "--" in matched["repository"]:
            raise ValueError(f"it must have the form {FORM}")
        revision, file = matched["revision"], matched["file"]
        if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
            raise ValueError(f"{revision[:60]!r} is no revision: give a branch, tag or commit, as in {FORM}")
        path = None if file is None else file.removesuffix("/")
        if path is not None and not is_path(path):
            raise ValueError("the path in it must be that of a file or folder in the repository")
        return cls(matched["repository"], revision, path)


def is_path(name: object) -> bool:
    """Return True for a path in a repository; False for one that leads out of it."""
    if not isinstance(name, str) or len(name) > 500 or not name.isprintable() or "\\" in name or ":" in name:
        return False
    parts = name.split("/")
    return all(part not in ("", ".", "..") for part in parts) and len(parts) < 20


def is_file_name(name: object) -> bool:
    """Return True for the path of a file of weights or of a configuration in a repository."""
    return is_path(name) and str(name).endswith((*SUFFIXES, *CONFIGURATIONS))


@dataclass(frozen=True)
class Weights:
    """Reference to weights: the path of a file or folder, or ``hf:USER/NAME[@REVISION][/PATH]``.

    A path is a setting like any ``pydantic.FilePath``: the content is part of a cell's identity. What a
    reference to the Hub leads to is fingerprinted by
    :meth:`methods.pretrained.pretrained_sae.PretrainedSAE.fingerprint`.
    """

    text: str

    def __str__(self) -> str:
        return self.text

    @property
    def hub(self) -> HubFile | None:
        """The file or folder of the Hub; None for one of this machine."""
        return HubFile.of(self.text) if self.text.startswith(PREFIX) else None

    def map_files(self, replace: Replace, where: str) -> Weights:
        """Return a copy with the path of a file replaced (:mod:`methods.file_settings`)."""
        return self if self.hub is not None else Weights(str(replace(Path(self.text), where)))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validated, serialization=core_schema.to_string_ser_schema(when_used="json")
        )

    @classmethod
    def _validated(cls, value: Any) -> Weights:
        if isinstance(value, Weights):
            return value
        if not isinstance(value, str | Path) or not str(value) or len(str(value)) > LONGEST or "\0" in str(value):
            raise ValueError(f"it must be the path of a file or folder of weights, or {FORM}")
        text = str(value)
        if text.startswith(PREFIX):
            return cls(str(HubFile.of(text)))
        if PurePosixPath(text).suffix not in SUFFIXES and not Path(text).is_dir():
            raise ValueError(f"it must be a file that ends in {', '.join(SUFFIXES)}, a folder that exists, or {FORM}")
        return cls(text)
