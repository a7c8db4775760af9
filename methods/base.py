"""The contract every disentanglement method fulfils.

A method takes one linear map ``a = W q + b`` inside a backbone (the *site*) apart into units. It reads either the
layer's input ``q`` (n, d_in) or its output ``a`` (n, d_out), gives codes (n, n_units), one column a unit, and
reconstructs the layer's output from them.
"""

from __future__ import annotations

import json
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from methods.errors import UserError
from methods.registry import did_you_mean

Reads = Literal["input", "output"]

#: Called as ``progress(done, total, what)``; methods call it as often as they like, the caller throttles.
Progress = Callable[[int, int, str], None]

Device = str | torch.device


def no_progress(done: int, total: int, what: str) -> None:
    """A progress callback that shows nothing."""


class LinearSite(Protocol):
    """What a method may know about the layer: ``a = weight @ q + bias``."""

    @property
    def weight(self) -> Tensor:
        """(d_out, d_in)"""

    @property
    def bias(self) -> Tensor:
        """(d_out,), zeros where the layer has none"""

    @property
    def d_in(self) -> int: ...

    @property
    def d_out(self) -> int: ...


class Tokens(Protocol):
    """Activation instances of the probing set: one row a token, its ``q`` ("input") and its ``a`` ("output")."""

    @property
    def n(self) -> int:
        """Number of tokens."""

    @property
    def image(self) -> np.ndarray:
        """(n,) int64: index of each token's image in the probing set."""

    @property
    def position(self) -> np.ndarray:
        """(n,) int32: grid position, row by row; -1 is the CLS token, -2 and below further prefix tokens."""

    @property
    def label(self) -> np.ndarray:
        """(n,) int64: class of each token's image, -1 where there is none. Only supervised methods may read it."""

    def width(self, field: Reads) -> int:
        """d_in for "input", d_out for "output"."""

    def batches(self, field: Reads, size: int) -> Iterator[Tensor]:
        """All rows in order as float32 (m, width) with m <= size. Memory stays flat."""

    def gather(self, field: Reads, rows: np.ndarray) -> Tensor:
        """The given rows as float32 (len(rows), width)."""

    def columns(self, field: Reads, start: int, stop: int) -> Tensor:
        """Columns start..stop of all rows as float32 (n, stop - start)."""


class MethodConfig(BaseModel):
    """Base of every method's configuration: typed, immutable, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class MethodSpec(NamedTuple):
    """What a method says of itself. Claims are shown beside what the harness measures, never instead of it."""

    name: str
    """Registry name, e.g. ``topk_sae``."""
    title: str
    """Name for people, e.g. ``TopK SAE``."""
    family: str
    """What it belongs to: ``control``, ``sae``, ``split``, ``transcoder``, ..."""
    reads: Reads
    """Whether ``encode`` takes the layer's input q or its output a."""
    reference: str
    """Where it comes from."""
    explicit: bool = True
    """Claims that its units can be inspected and edited directly."""
    training_free: bool = False
    """Claims that no parameter is trained."""
    lossless: bool = False
    """Claims that decode(encode(x)) is the layer's output."""
    stable: bool = False
    """Claims the same result on repeated runs."""
    supervised: bool = False
    """Uses class labels."""
    virtual: bool = False
    """Its units exist beside the model only: decode passes the original output through."""
    uses_seed: bool = True
    """Whether ``fit`` depends on its seed; if not, one initialisation seed is all that is run."""
    version: int = 1
    """Part of every cell's identity: raise it when a fix changes what the method computes."""


class Dictionary(NamedTuple):
    """One direction a unit."""

    atoms: Tensor
    """(n_units, d)"""
    parents: Tensor | None
    """(n_units,) int64: the original unit each one was split from; None where there is none."""
    side: Literal["reader", "writer"]
    """Whether atoms live in the layer's input space (d = d_in, "reader") or output space (d = d_out, "writer")."""


M = TypeVar("M", bound="Method")


class Method(ABC):
    """Base class of every method. A plugin subclasses it, sets :attr:`spec` and :attr:`Config`, and implements
    ``fit``, ``encode``, ``decode``, ``dictionary`` and ``n_units``. Fitted tensors are plain attributes named in
    :attr:`fitted`; saving, loading and moving between devices follow from that.
    """

    spec: ClassVar[MethodSpec]
    Config: ClassVar[type[MethodConfig]] = MethodConfig
    fitted: ClassVar[tuple[str, ...]] = ()
    """Names of the tensor attributes that a fitted method consists of."""

    def __init__(self, config: MethodConfig | None = None) -> None:
        self.config: Any = config if config is not None else self.Config()
        self.work_dir: Path | None = None
        """Where ``fit`` may keep what lets a killed fit go on; the harness gives each cell a folder of its own and
        removes it when the cell is finished. None: nothing is kept."""
        self.notes: list[str] = []
        """Sentences about this fit that a reader of its results should know."""

    # ---- what a method implements

    @abstractmethod
    def fit(
        self: M,
        tokens: Tokens,
        site: LinearSite,
        *,
        seed: int = 42,
        device: Device = "cpu",
        progress: Progress = no_progress,
    ) -> M:
        """Learn from the probing tokens and return ``self``, fitted. Every random draw follows from ``seed``."""

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Codes (n, n_units) of x (n, d_in) or (n, d_out), as ``spec.reads`` says; dtype and device of x are kept."""

    @abstractmethod
    def decode(self, codes: Tensor) -> Tensor:
        """The layer's output (n, d_out) reconstructed from codes (n, n_units)."""

    @abstractmethod
    def dictionary(self) -> Dictionary:
        """One atom a unit, with its parent unit where there is one."""

    @property
    @abstractmethod
    def n_units(self) -> int:
        """How many units the layer was taken apart into."""

    # ---- what follows from it

    @classmethod
    def spec_with(cls, config: MethodConfig) -> MethodSpec:
        """What the method says of itself with these settings: :attr:`spec`, but for claims that a setting changes."""
        return cls.spec

    @property
    def parents(self) -> Tensor | None:
        """(n_units,) int64 parent unit of each unit, or None."""
        return self.dictionary().parents

    @property
    def curves(self) -> dict[str, list[tuple[int, float]]]:
        """How the fit went, for methods that are trained: series ("loss", ...) to (optimiser step, value)."""
        return {}

    @property
    def is_fitted(self) -> bool:
        return bool(self.fitted) and all(isinstance(getattr(self, name, None), Tensor) for name in self.fitted)

    def require_fitted(self) -> None:
        if not self.is_fitted:
            raise UserError(f"{self.spec.name} is not fitted yet: call fit(tokens, site) or load(path) first.")

    def to(self: M, device: Device) -> M:
        """Move the fitted tensors to a device, in place, and return self."""
        for name in self.fitted:
            value = getattr(self, name, None)
            if isinstance(value, Tensor):
                setattr(self, name, value.to(device))
        return self

    def extra_state(self) -> dict[str, Any]:
        """JSON-able state beside the tensors; override together with :meth:`restore_extra`."""
        return {}

    def restore_extra(self, extra: dict[str, Any]) -> None:  # noqa: B027 - most methods have none
        """Take back what :meth:`extra_state` gave."""

    def save(self, path: str | Path) -> Path:
        """Write the fitted method to one safetensors file (tensors, with the configuration as JSON in its header).

        The file is written beside and renamed, so that it is whole or absent.

        Raises:
            UserError: if the method is not fitted.
        """
        self.require_fitted()
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        tensors = {name: getattr(self, name).detach().cpu().contiguous() for name in self.fitted}
        header = {
            "method": self.spec.name,
            "config": self.config.model_dump(mode="json"),
            "extra": self.extra_state(),
            "notes": self.notes,
        }
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".tmp")
        os.close(handle)
        try:
            save_file(tensors, temporary, metadata={"harness": json.dumps(header, sort_keys=True)})
            with open(temporary, "rb") as written:
                os.fsync(written.fileno())
            # A temporary file is private; who may read the results may read what they were measured on.
            umask = os.umask(0)
            os.umask(umask)
            Path(temporary).chmod(0o666 & ~umask)
            Path(temporary).replace(target)
        finally:
            Path(temporary).unlink(missing_ok=True)
        return target

    @classmethod
    def load(cls: type[M], path: str | Path, *, device: Device = "cpu") -> M:
        """Read what :meth:`save` wrote.

        Raises:
            UserError: if the file is missing, is no saved method, or belongs to another method.
        """
        header = read_header(path)
        if header["method"] != cls.spec.name:
            raise UserError(f"{path} holds a fitted {header['method']}, not a {cls.spec.name}.")
        method = cls(make_config(cls, header["config"]))
        with safe_open(str(path), framework="pt", device=str(device)) as file:
            for name in file.keys():  # noqa: SIM118 - a safetensors file is no mapping
                if name not in cls.fitted:
                    raise UserError(f"{str(path)!r} holds {name!r}, which is no part of a {cls.spec.name}.")
                setattr(method, name, file.get_tensor(name))
        method.notes = list(header.get("notes", []))
        method.restore_extra(header.get("extra", {}))
        method.require_fitted()
        return method


def read_header(path: str | Path) -> dict[str, Any]:
    """The JSON header of a saved method.

    Raises:
        UserError: if the file is missing or was not written by :meth:`Method.save`.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"There is no saved method at {str(path)!r}.")
    try:
        with safe_open(str(file), framework="pt") as handle:
            header: dict[str, Any] = json.loads((handle.metadata() or {})["harness"])
        if not isinstance(header["method"], str) or not isinstance(header["config"], dict):
            raise ValueError("its header is not ours")
    except Exception as error:
        raise UserError(f"{str(path)!r} is not a method saved by this harness ({type(error).__name__}).") from error
    return header


def make_config(cls: type[Method], values: dict[str, Any]) -> MethodConfig:
    """The method's configuration from plain values.

    Raises:
        UserError: naming every wrong key or value, with what is allowed.
    """
    try:
        return cls.Config(**values)
    except ValidationError as error:
        known = list(cls.Config.model_fields)
        sentences = []
        for problem in error.errors():
            where = ".".join(str(part) for part in problem["loc"])
            if problem["type"] == "extra_forbidden":
                sentences.append(f"{cls.spec.name} has no setting {where!r}. {did_you_mean(where, known)}")
            elif not where:
                sentences.append(f"{cls.spec.name}: {problem['msg'].removeprefix('Value error, ')}.")
            else:
                reason = problem["msg"].removeprefix("Value error, ")
                sentences.append(f"{cls.spec.name}.{where} = {problem.get('input')!r}: {reason}.")
        raise UserError(" ".join(sentences)) from error
