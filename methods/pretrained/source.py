"""File or folder of weights of somebody else: JSON, safetensors, and pickles that hold tensors only; all bounded."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from methods.errors import UserError, first_line
from methods.requirements import is_finite
from methods.torch_files import load_torch

#: Most bytes of a JSON file.
_MOST_JSON = 16 << 20
#: Value that completes the files.
Setting = bool | int | float | str
#: Endings of pickled weights.
PICKLED = (".pt", ".pth", ".bin", ".ckpt")


class Source:
    """File or folder of weights. Everything is read when it is first asked for.

    Args:
        path: the file or folder.
        settings: what its user says and the files do not, such as the ``k`` of a TopK autoencoder.
        without: name of a file of the folder that is taken to be absent.
        names: names of the files of the folder that are read; None: all.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Setting] | None = None,
        *,
        without: str = "",
        names: Collection[str] | None = None,
    ) -> None:
        self.path = path
        self.without = without
        self.only_names = names
        self.settings = dict(settings or {})

    def with_settings(self, **settings: Setting) -> Source:
        """Return the same files with other settings."""
        return Source(self.path, settings, without=self.without, names=self.only_names)

    @property
    def is_folder(self) -> bool:
        return self.path.is_dir()

    def file(self, name: str) -> Path | None:
        """Return a file of the folder, or the file itself if it has this name; None if there is none."""
        path = self.path / name if self.is_folder else self.path
        return path if path.name == name and self._is_read(path) else None

    def _is_read(self, path: Path) -> bool:
        is_named = not self.is_folder or self.only_names is None or path.name in self.only_names
        return is_named and path.name != self.without and path.is_file()

    @functools.cached_property
    def files(self) -> list[str]:
        """Names of the files of the folder, or of the file itself."""
        return (
            sorted(path.name for path in self.path.iterdir() if self._is_read(path))
            if self.is_folder
            else [self.path.name]
        )

    def only(self, *suffixes: str) -> Path | None:
        """Return the only file with one of these endings; None if there is none, or several."""
        paths = [self.file(name) for name in self.files if name.endswith(suffixes)]
        return paths[0] if len(paths) == 1 else None

    def json(self, name: str) -> dict[str, Any]:
        """Return the object in a JSON file; empty if there is no such file.

        Raises:
            UserError: if it is too large, or not a JSON object.
        """
        file = self.file(name)
        if file is None:
            return {}
        try:
            if file.stat().st_size > _MOST_JSON:
                raise ValueError(f"it has more than {_MOST_JSON} bytes")
            content = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError("it is no JSON object")
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"its {name} cannot be read ({first_line(error)})") from error
        return content

    @functools.cached_property
    def metadata(self) -> Mapping[str, str]:
        """Metadata of the only safetensors file; empty if there is none."""
        file = self.only(".safetensors")
        return {} if file is None else _metadata(file)

    @functools.cached_property
    def names(self) -> frozenset[str]:
        """Names of the tensors of the only safetensors file; empty if there is none, or it cannot be read."""
        file = self.only(".safetensors")
        try:
            if file is None:
                return frozenset()
            with safe_open(str(file), framework="pt") as opened:
                return frozenset(opened.keys())
        except (SafetensorError, OSError):
            return frozenset()

    @functools.cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Tensors of the only safetensors file.

        Raises:
            UserError: if there is not exactly one, or it is damaged.
        """
        file = self.only(".safetensors")
        if file is None:
            raise UserError("there is not exactly one safetensors file")
        return tensors_in(file)

    @functools.cached_property
    def pickled(self) -> Any:
        """Content of the only pickled file, of tensors and plain values; None if there is no such file.

        Raises:
            UserError: if it holds anything else, or is damaged. Nothing of it is executed.
        """
        file = self.only(*PICKLED)
        if file is None:
            return None
        return load_pickled(file)

    def state(self, name: str | None = None) -> dict[str, Tensor]:
        """Return the tensors of the safetensors or the pickled file, which must be a mapping of names to tensors.

        Args:
            name: name of a pickled file of the folder; None: the only file of weights.

        Raises:
            UserError: if there is no such file, or it holds something else.
        """
        if name is None and self.only(".safetensors") is not None:
            return self.tensors
        file = None if name is None else self.file(name)
        content = self.pickled if file is None else load_pickled(file)
        if isinstance(content, Mapping) and content and all(isinstance(value, Tensor) for value in content.values()):
            return {str(name): value for name, value in content.items()}
        raise UserError("it holds no state_dict: a mapping of names to tensors")


def tensors_in(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Raises:
        UserError: if it is damaged, or its tensors are not finite real numbers.
    """
    try:
        with safe_open(str(file), framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file.name} is damaged ({first_line(error)})") from error
    _require_finite(tensors)
    return tensors


def load_pickled(file: Path, *, offset: int = 0, records: Collection[str] = ()) -> Any:
    """Return what :func:`methods.torch_files.load_torch` returns, if its tensors are finite real numbers.

    Raises:
        UserError: if they are not, or the file cannot be read.
    """
    content = load_torch(file, offset=offset, records=records)
    if isinstance(content, Mapping):
        _require_finite(content)
        if isinstance(state := content.get("state_dict"), Mapping):
            _require_finite(state)
    return content


def _require_finite(tensors: Mapping[Any, Any]) -> None:
    """Check the tensors of a file before they are folded into each other, which may hide a NaN.

    Raises:
        UserError: if a tensor is complex, or holds NaN or infinity.
    """
    for name, tensor in tensors.items():
        if isinstance(tensor, Tensor) and tensor.is_complex():
            raise UserError(f"its tensor {str(name)[:80]!r} is complex, and weights are real numbers")
        if isinstance(tensor, Tensor) and not is_finite(tensor.float() if tensor.element_size() == 1 else tensor):
            raise UserError(f"its tensor {str(name)[:80]!r} contains NaN or infinity")


def _metadata(file: Path) -> dict[str, str]:
    try:
        with safe_open(str(file), framework="pt") as opened:
            return dict(opened.metadata() or {})
    except (SafetensorError, OSError):
        return {}
