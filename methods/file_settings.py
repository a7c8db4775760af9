"""Settings that name files: their content is part of an identity, the spelling of their path is not.

A setting names files if its type is ``pydantic.FilePath`` or ``pydantic.DirectoryPath``, or contains one of them
(``FilePath | None``, ``tuple[FilePath, ...]``, ``dict[str, FilePath]``, a nested model or dataclass). A plain ``Path``
is a text like any other.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import operator
import os
import stat
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_args, get_type_hints, runtime_checkable

from pydantic import BaseModel, ValidationError
from pydantic.types import PathType

from methods.errors import ArgumentError, UserError

Model = TypeVar("Model", bound=BaseModel)

#: Function from a path and the name of its setting to the path that takes its place.
Replace = Callable[[Path, str], Path]


@runtime_checkable
class NamesFiles(Protocol):
    """Interface of a setting that knows by itself where it names files."""

    def map_files(self, replace: Replace, where: str) -> Any:
        """Return a copy with every path replaced by ``replace(path, name of the setting)``."""


#: Text in place of a path, followed by the hash of what it points to.
PREFIX = "content:"

#: Largest number of files in a folder that a setting names: a larger folder is data, not weights.
MOST_FILES = 10_000

_CHUNK = 1 << 22

#: pydantic's error for a missing path -> a path that exists.
_STAND_INS = {"path_not_file": __file__, "path_not_directory": str(Path(__file__).parent)}


def plain_config(config: BaseModel) -> dict[str, Any]:
    """Return a configuration as JSON values, with ``content:HASH`` in place of the paths of files.

    Configurations without such settings are returned as ``config.model_dump(mode="json")`` returns them.

    Raises:
        UserError: if a file is missing or cannot be read.
    """
    return with_paths(config, lambda path: Path(content_of(path))).model_dump(mode="json")


def files_of(config: BaseModel) -> dict[str, Path]:
    """Return the files and folders that the settings name, by the name of the setting (``weights``, ``parts.0``)."""
    collected: dict[str, Path] = {}

    def collect(path: Path, where: str) -> Path:
        collected[where] = path
        return path

    map_model(config, collect, "")
    return collected


def same_settings(first: BaseModel, second: BaseModel) -> bool:
    """Return True if two configurations are equal, whatever the paths of the files that they name."""

    def without_paths(config: BaseModel) -> BaseModel:
        return with_paths(config, lambda _: Path(PREFIX))

    return without_paths(first) == without_paths(second)


def with_paths(config: Model, replace: Callable[[Path], Path]) -> Model:
    """Return a copy of a configuration with the paths of its files replaced; itself if it has no such settings."""
    return map_model(config, lambda path, _: replace(path), "")


def load_config(cls: type[Model], values: Mapping[str, Any]) -> Model:
    """Return the configuration of a method that is already fitted: a file that it names may be gone.

    Raises:
        ValidationError: for any other error in the values.
    """
    try:
        return cls(**values)
    except ValidationError as error:
        problems = error.errors()
        if any(problem["type"] not in _STAND_INS for problem in problems):
            raise
        # Validated with an existing path in place of each path that is gone.
        complete: Any = copy.deepcopy(dict(values))
        for problem in problems:
            *outer, last = problem["loc"]
            try:
                functools.reduce(operator.getitem, outer, complete)[last] = _STAND_INS[problem["type"]]
            except (LookupError, TypeError):
                raise error from None
    gone = {".".join(map(str, problem["loc"])): Path(problem["input"]) for problem in problems}
    return map_model(cls(**complete), lambda path, where: gone.get(where, path), "")


def content_of(path: Path) -> str:
    """Return ``content:`` and a hash of the bytes of a file, or of the names and bytes of all files in a folder.

    Hashes are kept in this process, by resolved path, size and times, so that a large file is read once.

    Raises:
        UserError: if it is missing, cannot be read, or is a folder of too many files.
    """
    try:
        if not path.is_dir():
            return f"{PREFIX}{_hash_of(path)}"
        digest = hashlib.blake2b(b"folder", digest_size=16)
        for name, file in _files_in(path):
            digest.update(f"{len(name)}|{name}|{_hash_of(file)}|".encode(errors="surrogateescape"))
        return f"{PREFIX}{digest.hexdigest()}"
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL character
        named, reason = (error.filename, error.strerror) if isinstance(error, OSError) else (None, None)
        raise ArgumentError(
            f"{str(named or path)!r}, which a setting names, cannot be read ({reason or error}): give the path of an "
            "existing file."
        ) from error


def _hash_of(path: Path) -> str:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{str(path)!r}, which a setting names, is no regular file: give the path of a file of bytes.")
    # The time of the last change of the inode cannot be set back, unlike that of the content.
    state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return _hash_of_state(os.path.realpath(path), state)


@functools.lru_cache(maxsize=65536)
def _hash_of_state(path: str, state: tuple[int, ...]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _files_in(folder: Path) -> Iterator[tuple[str, Path]]:
    """Return (name relative to the folder, path) of the files in it, sorted by name; linked folders are followed."""
    files: list[tuple[str, Path]] = []
    n_folders = 0
    waiting: list[tuple[Path, frozenset[str]]] = [(folder, frozenset())]
    while waiting:
        parent, ancestors = waiting.pop()
        real = os.path.realpath(parent)
        # A link back to a folder above leads nowhere new; two links to one folder are read twice, as copies would be.
        if real in ancestors:
            continue
        n_folders += 1
        with os.scandir(parent) as entries:
            for entry in entries:
                path = Path(entry.path)
                if entry.is_dir():
                    waiting.append((path, ancestors | {real}))
                else:
                    files.append((path.relative_to(folder).as_posix(), path))
                if len(files) > MOST_FILES or n_folders > MOST_FILES:
                    raise UserError(
                        f"The folder {str(folder)!r}, which a setting names, has more than {MOST_FILES} files: name "
                        "the files that are read, or let the method return their identity from fingerprint()."
                    )
    return iter(sorted(files))


# ---- settings and their types


def map_model(model: Model, replace: Replace, prefix: str) -> Model:
    """Return a model whose file settings are replaced by ``replace(path, name of the setting)``."""
    changed: dict[str, Any] = {}
    for name in _file_fields(type(model)):
        value = getattr(model, name)
        annotation = _type_of(type(model), name)
        mapped = _mapped(value, annotation, replace, f"{prefix}{name}")
        if mapped is not value:
            changed[name] = mapped
    if not changed:
        return model
    return model.model_copy(update=changed)


def _mapped(value: Any, annotation: Any, replace: Replace, where: str) -> Any:
    if isinstance(value, Path):
        return replace(value, where)
    if isinstance(value, str):
        # A default is not validated, so it may still be text.
        return replace(Path(value), where) if _is_path(annotation) else value
    if isinstance(value, NamesFiles):
        return value.map_files(replace, where)
    if isinstance(value, BaseModel):
        return map_model(value, replace, f"{where}.")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _mapped_dataclass(value, replace, where)
    if isinstance(value, Mapping):
        return {
            _mapped(key, None, replace, where): _mapped(item, None, replace, f"{where}.{key}")
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        items = [_mapped(item, None, replace, f"{where}.{number}") for number, item in enumerate(value)]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def _mapped_dataclass(value: Any, replace: Replace, where: str) -> Any:
    types = get_type_hints(type(value), include_extras=True)
    fields = {
        field.name: _mapped(getattr(value, field.name), types[field.name], replace, f"{where}.{field.name}")
        for field in dataclasses.fields(value)
        if _path_types(types[field.name])
    }
    return dataclasses.replace(value, **fields)


def _type_of(cls: type[BaseModel], name: str) -> Any:
    """Return the type of a field with the metadata that pydantic has taken out of it."""
    field = cls.model_fields[name]
    annotation: Any = field.annotation
    for item in field.metadata:
        annotation = typing.Annotated[annotation, item]
    return annotation


@functools.cache
def _file_fields(cls: type[BaseModel]) -> tuple[str, ...]:
    """Return the fields of a model whose type contains that of a file or folder."""
    return tuple(name for name in cls.model_fields if _path_types(_type_of(cls, name)))


def _is_path(annotation: Any) -> bool:
    """Return True if text in a setting of this type can only be a path."""
    return bool(_path_types(annotation)) and not any(
        part is str or typing.get_origin(part) is typing.Literal for part in _parts(annotation, {})
    )


def _path_types(annotation: Any) -> set[str]:
    """Return which of ``file`` and ``dir`` occur in a type, at any depth."""
    types: set[str] = set()
    for part in _parts(annotation, {}):
        if isinstance(part, PathType):
            types.add(part.path_type)
        elif isinstance(part, type) and hasattr(part, "map_files"):
            types.add("file")
    return types & {"file", "dir"}


def _parts(annotation: Any, visited: dict[int, Any]) -> Iterator[Any]:
    """Yield a type, its arguments and metadata, and the types of the fields of models and dataclasses in it."""
    annotation = getattr(annotation, "__value__", annotation)
    if id(annotation) in visited:
        return
    # The object is kept as well, so that its id is not given to another one.
    visited[id(annotation)] = annotation
    yield annotation
    nested = [*get_args(annotation), *getattr(annotation, "__metadata__", ())]
    if isinstance(annotation, type):
        if issubclass(annotation, BaseModel):
            nested += [_type_of(annotation, name) for name in annotation.model_fields]
        elif dataclasses.is_dataclass(annotation) or hasattr(annotation, "__annotations__"):
            nested += _hints(annotation)
    for item in nested:
        yield from _parts(item, visited)


def _hints(cls: type) -> list[Any]:
    """Return the types of the fields of a dataclass, named tuple or typed dictionary; none if they are unknown."""
    if not (dataclasses.is_dataclass(cls) or hasattr(cls, "_fields") or typing.is_typeddict(cls)):
        return []
    try:
        return list(get_type_hints(cls, include_extras=True).values())
    except NameError:
        return []
