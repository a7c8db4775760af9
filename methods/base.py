"""Interface of every disentanglement method.

A method decomposes one linear map ``a = W q + b`` inside a backbone (the *site*) into units. It reads either the
layer's input ``q`` (n, d_in) or its output ``a`` (n, d_out), gives codes (n, n_units), one column per unit, and
reconstructs the layer's output from them.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self, final

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from methods.atomic import partial_file
from methods.config_values import make_config, saved_config
from methods.errors import UserError
from methods.fitted_tensors import fitted_problem, named_tensors, set_tensors, with_memory_of_their_own
from methods.interface import (
    Device,
    Dictionary,
    LinearSite,
    MethodConfig,
    MethodSpec,
    OnMetrics,
    Progress,
    Reads,
    Tokens,
    no_metrics,
    no_progress,
)
from methods.requirements import INPUT, checked_decode, checked_encode, checked_fit

if TYPE_CHECKING:
    from methods.pretrained.trained_dictionary import TrainedDictionary

__all__ = [
    "Device",
    "Dictionary",
    "Learner",
    "LinearSite",
    "Method",
    "MethodConfig",
    "MethodSpec",
    "OnMetrics",
    "Prerequisite",
    "Progress",
    "Reads",
    "Tokens",
    "make_config",
    "no_metrics",
    "no_progress",
    "read_header",
]


#: Why a method has no atoms, with its name.
NO_DICTIONARY = "{} has no dictionary: its decoder is not linear, so its units have no atoms."


class Prerequisite(NamedTuple):
    """Method whose fit, on the same tokens, layer and seed, another method's fit needs."""

    method: type[Method]
    config: MethodConfig


class Method(ABC):
    """Base class of every method.

    A plugin subclasses it, sets :attr:`spec` and :attr:`Config`, and implements ``fit``, ``encode``, ``decode``,
    ``dictionary`` and ``n_units``. Fitted tensors are plain attributes named in :attr:`fitted`; saving, loading and
    moving between devices follow from that.
    """

    spec: ClassVar[MethodSpec]
    Config: ClassVar[type[MethodConfig]] = MethodConfig
    fitted: ClassVar[tuple[str, ...]] = ()
    """Names of the tensor attributes that a fitted method consists of. ``"layers.*"`` names a dictionary of tensors:
    the attribute ``layers``, whose keys may depend on the settings. ``__init__`` may set it for the given settings.
    """

    def __init__(self, config: MethodConfig | None = None) -> None:
        self.config: Any = config if config is not None else self.Config()
        self.work_dir: Path | None = None
        """Folder in which ``fit`` may keep what it needs to resume after it was killed. The harness gives each cell a
        folder of its own and removes it when the cell is finished. None: nothing is kept.
        """
        self.on_metrics: OnMetrics = no_metrics
        """Callback that ``fit`` may call as ``on_metrics(step, {"loss": 0.3})``, e.g. at the end of each epoch, for a
        live training log. ``harness run --log`` sets it; a log changes no result.
        """
        self.notes: list[str] = []
        """Sentences about this fit that readers of its results should know."""
        self.prerequisite_fit: Method | None = None
        """Fit of :meth:`prerequisite` that ``fit`` may use. The harness sets it if a finished cell of the store has it.
        None: :meth:`fitted_prerequisite` makes it.
        """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Put the checks of :mod:`methods.requirements` before what a subclass implements."""
        super().__init_subclass__(**kwargs)
        for name, checked in (("fit", checked_fit), ("encode", checked_encode), ("decode", checked_decode)):
            if name in vars(cls):
                setattr(cls, name, checked(vars(cls)[name]))
        if not hasattr(cls.decode, INPUT) and not getattr(cls.decode, "__isabstractmethod__", False):
            # A class that is no method may come before one among the bases.
            cls.decode = checked_decode(cls.decode)  # type: ignore[method-assign]
        if cls.reconstruct is not Method.reconstruct:
            # It is given x in any case, which `decode` gets only with decode_reads_input.
            raise UserError(f"{cls.__name__} overrides reconstruct: override decode, which reconstruct calls.")

    # ---- what a method implements

    @abstractmethod
    def fit(
        self,
        tokens: Tokens,
        site: LinearSite,
        *,
        seed: int = 42,
        device: Device = "cpu",
        progress: Progress = no_progress,
    ) -> Self:
        """Learn from the probing tokens and return ``self``, fitted. All random draws are determined by ``seed``.

        Raises:
            UserError: before anything is learned, if there are no tokens, or NaN or infinity occurs in the tokens or
                in the layer's parameters.
        """

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Return codes (n, n_units) of x (n, d_in) or (n, d_out), see ``spec.reads``; keep dtype and device of x.

        A token with NaN or infinity has NaN or infinity among its codes; other tokens are not affected.

        Raises:
            UserError: if x is not a matrix of floating-point numbers.
        """

    @abstractmethod
    def decode(self, codes: Tensor, x: Tensor | None = None) -> Tensor:
        """Return the layer's output (n, d_out) reconstructed from codes (n, n_units).

        A subclass may leave ``x`` out of its signature: it is then not passed on.

        Args:
            codes: result of ``encode``, or codes that were edited.
            x: what ``encode`` has read, (n, d_in) or (n, d_out). Only methods with :attr:`decode_reads_input` need it.

        Raises:
            UserError: if the method needs ``x`` and it is missing.
        """

    @abstractmethod
    def dictionary(self) -> Dictionary | None:
        """Return one atom per unit, with its parent unit if it has one; None for a decoder that is not linear.

        A linear decoder is ``codes @ atoms`` plus an offset. Without a dictionary, the metrics of the atoms and the
        stability of the method are left out, and no other program can read the fit.
        """

    @property
    @abstractmethod
    def n_units(self) -> int:
        """Number of units into which the layer was decomposed."""

    # ---- what follows from these

    @classmethod
    def spec_with(cls, config: MethodConfig) -> MethodSpec:
        """Return :attr:`spec` with the claims that these settings change."""
        return cls.spec

    @classmethod
    def least_memory(cls, config: MethodConfig, d_in: int, d_out: int) -> int:
        """Return a lower bound, in bytes, of what a fit allocates at once on a layer of these widths; 0: not known.

        It is compared with the memory of the device before anything is fitted.
        """
        return 0

    @classmethod
    def layer_width(cls, config: MethodConfig) -> int | None:
        """Return the width of the output of the layers that the method can be put on with these settings; None: any."""
        return None

    @classmethod
    def layer_input_width(cls, config: MethodConfig) -> int | None:
        """Return the width of the input of the linear layers that the method can be put on; None: any."""
        return None

    @classmethod
    def prerequisite(cls, config: MethodConfig) -> Prerequisite | None:
        """Return the method whose fit :meth:`fit` needs under these settings; it is part of a cell's identity."""
        return None

    def fingerprint(self) -> str | None:
        """Return the identity of what ``fit`` reads besides its arguments, e.g. a hash of files; it enters a cell's id.

        Files that settings of the type ``pydantic.FilePath`` or ``DirectoryPath`` name need none: their content is part
        of the identity already. It is called on an unfitted method, more than once, and must be quick. None: nothing.
        """
        return None

    def fitted_prerequisite(
        self, tokens: Tokens, site: LinearSite, *, seed: int, device: Device, progress: Progress
    ) -> Method:
        """Return :attr:`prerequisite_fit`; if there is none, fit :meth:`prerequisite`, which may take long."""
        if self.prerequisite_fit is not None:
            return self.prerequisite_fit
        prerequisite = self.prerequisite(self.config)
        if prerequisite is None:
            raise ValueError(f"{self.spec.name} has no prerequisite with these settings")
        method = prerequisite.method(prerequisite.config)
        method.work_dir = None if self.work_dir is None else self.work_dir / "prerequisite"
        return method.fit(tokens, site, seed=seed, device=device, progress=progress)

    def size_of(self, name: str, axis: int) -> int | None:
        """Return the size of a fitted tensor along an axis; None if it is not fitted yet."""
        value = getattr(self, name, None)
        return value.shape[axis] if isinstance(value, Tensor) else None

    @property
    def decode_reads_input(self) -> bool:
        """True if ``decode`` needs what ``encode`` has read: the scale of each token, or the input of a skip."""
        return False

    @final
    def reconstruct(self, codes: Tensor, x: Tensor) -> Tensor:
        """Return the output (n, d_out) of codes (n, n_units) of x (n, d_in) or (n, d_out)."""
        return self.decode(codes, x)

    @property
    def input_width(self) -> int | None:
        """Number of columns that ``encode`` requires; None: not known, so that the width is not checked."""
        return None

    @property
    def code_width(self) -> int | None:
        """Number of columns that ``decode`` requires, if it is known without reading a tensor's value; else None."""
        return None

    @property
    def parents(self) -> Tensor | None:
        """(n_units,) int64 parent unit of each unit; None without parents or without a dictionary."""
        dictionary = self.dictionary()
        return None if dictionary is None else dictionary.parents

    def require_dictionary(self) -> Dictionary:
        """Return :meth:`dictionary`.

        Raises:
            UserError: if the method has none, because its decoder is not linear.
        """
        dictionary = self.dictionary()
        if dictionary is None:
            raise UserError(NO_DICTIONARY.format(self.spec.name))
        return dictionary

    @property
    def curves(self) -> dict[str, list[tuple[int, float]]]:
        """Return the training curves of a trained method: series ("loss", ...) -> (optimiser step, value) pairs."""
        return {}

    @property
    def implementation(self) -> Method:
        """Method that computes the codes: this one, or the one that it has loaded."""
        return self

    @property
    def is_fitted(self) -> bool:
        return not fitted_problem(self, self.fitted)

    def fitted_tensors(self) -> dict[str, Tensor]:
        """Return the tensors that :attr:`fitted` names, by their names in a file; those of a dictionary as NAME.KEY."""
        return named_tensors(self, self.fitted)

    def require_fitted(self) -> None:
        if not self.is_fitted:
            raise UserError(f"{self.spec.name} is not fitted yet: call fit(tokens, site) or load(path) first.")

    def to(self, device: Device) -> Self:
        """Move the fitted tensors to a device, in place, and return self."""
        moved = {name: tensor.to(device) for name, tensor in self.fitted_tensors().items()}
        set_tensors(self, self.fitted, moved, self.spec.name)
        return self

    def as_trained_dictionary(self) -> TrainedDictionary:
        """Return the fit as encoder, activation and decoder, the form in which other programs read a dictionary.

        Codes and reconstructions are those of this method, up to rounding. The fit is not changed.

        Raises:
            UserError: if the method has no such form, which is the default, or is not fitted.
        """
        raise UserError(
            f"{self.spec.name} has no form as a linear encoder, an elementwise or top-k activation and a linear "
            "decoder, so no file of another program can hold it; Method.save writes it for this harness."
        )

    def extra_state(self) -> dict[str, Any]:
        """Return JSON-able state beside the tensors; override it together with :meth:`restore_extra`."""
        return {}

    def restore_extra(self, extra: dict[str, Any]) -> None:  # noqa: B027 - most methods have none
        """Restore what :meth:`extra_state` returned."""

    def save(self, path: str | Path) -> Path:
        """Write the fitted method atomically to a safetensors file, with the configuration as JSON in its header.

        Raises:
            UserError: if the method is not fitted.
        """
        self.require_fitted()
        target = Path(path)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.fitted_tensors().items()}
        header = {
            "method": self.spec.name,
            "config": self.config.model_dump(mode="json"),
            "extra": self.extra_state(),
            "notes": self.notes,
        }
        with partial_file(target) as partial:
            save_file(
                with_memory_of_their_own(tensors), partial, metadata={"harness": json.dumps(header, sort_keys=True)}
            )
        return target

    @classmethod
    def load(cls, path: str | Path, *, device: Device = "cpu") -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            UserError: if the file is missing, is not a saved method, or belongs to another method.
        """
        header = read_header(path)
        if header["method"] != cls.spec.name:
            raise UserError(f"{str(path)!r} contains the method {header['method']!r}, not {cls.spec.name!r}.")
        return cls.from_header(header, path, device=device)

    @classmethod
    def from_header(cls, header: dict[str, Any], path: str | Path, *, device: Device = "cpu") -> Self:
        """Return the method that a header describes, with the tensors of a file; see :meth:`load`."""
        method = cls(saved_config(cls, header["config"]))
        with safe_open(str(path), framework="pt", device=str(device)) as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        set_tensors(method, method.fitted, tensors, repr(str(path)))
        method.notes = list(header.get("notes", []))
        method.restore_extra(header.get("extra", {}))
        method.require_fitted()
        return method


class Learner(Method):
    """Method that is fitted by :meth:`learn`: its fit takes no arguments beyond those of the interface."""

    def fit(
        self,
        tokens: Tokens,
        site: LinearSite,
        *,
        seed: int = 42,
        device: Device = "cpu",
        progress: Progress = no_progress,
    ) -> Self:
        self.learn(tokens, site, seed, device, progress)
        return self.to(device)

    @abstractmethod
    def learn(self, tokens: Tokens, site: LinearSite, seed: int, device: Device, progress: Progress) -> None:
        """Set the fitted tensors, on any device; all random draws are determined by ``seed``."""


def read_header(path: str | Path) -> dict[str, Any]:
    """Return the JSON header of a saved method.

    Raises:
        UserError: if the file is missing or was not written by :meth:`Method.save`.
    """
    if not Path(path).is_file():
        raise UserError(f"There is no saved method at {str(path)!r}.")
    try:
        with safe_open(str(path), framework="pt") as file:
            header: dict[str, Any] = json.loads((file.metadata() or {})["harness"])
        if not isinstance(header["method"], str) or not isinstance(header["config"], dict):
            raise ValueError("the header has no method or config")
    except Exception as error:
        raise UserError(f"{str(path)!r} is not a method saved by this harness ({type(error).__name__}).") from error
    return header
