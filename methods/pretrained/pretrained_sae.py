"""``pretrained_sae``: a sparse autoencoder or dictionary that was fitted elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

from pydantic import Field, field_validator
from torch import Tensor

from methods import register
from methods.base import (
    Device,
    Dictionary,
    Learner,
    LinearSite,
    Method,
    MethodConfig,
    MethodSpec,
    Progress,
    Reads,
    Tokens,
)
from methods.errors import UserError
from methods.file_settings import plain_config
from methods.pretrained.download import HubWeights, resolve
from methods.pretrained.origins import is_same_backbone, is_same_site
from methods.pretrained.reading import AUTO, Loaded, format_names, read_weights
from methods.pretrained.reference import Weights
from methods.pretrained.saved import read_fit
from methods.pretrained.trained_dictionary import TrainedDictionary
from methods.registry import did_you_mean


class PretrainedConfig(MethodConfig):
    """Settings of pretrained weights."""

    weights: Weights = Field(description="path of a file or folder of weights, or hf:USER/NAME[@REVISION][/PATH]")
    format: str = Field("auto", description="format of the weights; auto recognises it")
    settings: dict[str, bool | int | float | str] = Field(
        default_factory=dict, description="what the files of some formats do not say, such as k"
    )

    @field_validator("format")
    @classmethod
    def _known(cls, name: str) -> str:
        names = [AUTO, *format_names()]
        if name not in names:
            raise ValueError(f"there is no format {name[:40]!r} of weights. {did_you_mean(name, names)}")
        return name


class _Ends(NamedTuple):
    """Both ends of trained weights."""

    reads: Reads
    d_read: int | None
    d_out: int


#: Settings and content of the files -> the ends of the weights: files are read once, however many layers there are.
_ends: dict[str, _Ends] = {}


@register
class PretrainedSAE(Learner):
    """Sparse autoencoder or dictionary that was trained elsewhere, read from a file or the Hugging Face Hub.

    Nothing is learned: ``fit`` loads the weights and checks that they fit the layer. Codes, reconstructions and atoms
    are those of the program that saved them, its normalisation included (:mod:`methods.pretrained.weight_formats`).
    Weights of a transcoder make it a method that reads the input of a linear layer.
    """

    spec = MethodSpec(
        name="pretrained_sae",
        title="Pretrained SAE",
        family="sae",
        reads="output",
        reference="weights that were fitted elsewhere (docs/hub.md)",
        uses_seed=False,
        fitted_elsewhere=True,
    )
    Config = PretrainedConfig
    fitted: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.loaded: Method | None = None
        """the method that was saved; None before ``fit`` or ``load``"""
        self.source: Loaded | None = None
        """what the file says of its origin; None before it is read"""

    def __getattr__(self, name: str) -> Any:
        # Fitted tensors are those of the loaded method; `to`, `save` and measurements find them by name.
        if not name.startswith("_") and name in self.__dict__.get("fitted", ()):
            return getattr(self.__dict__["loaded"], name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @classmethod
    def spec_with(cls, config: MethodConfig) -> MethodSpec:
        """Return the properties of the weights, which are read for it."""
        return _spec(cls.spec, cls._ends_of(config).reads)

    @classmethod
    def layer_width(cls, config: MethodConfig) -> int | None:
        """Return the width that the weights write, which are read for it."""
        return cls._ends_of(config).d_out

    @classmethod
    def layer_input_width(cls, config: MethodConfig) -> int | None:
        """Return the width that a transcoder reads; None for weights that read the layer's output."""
        ends = cls._ends_of(config)
        return ends.d_read if ends.reads == "input" else None

    @classmethod
    def _ends_of(cls, config: MethodConfig) -> _Ends:
        method = cls(config)
        key = json.dumps([plain_config(config), method.fingerprint()], sort_keys=True)
        if key not in _ends:
            loaded = method.read().implementation
            _ends[key] = _Ends(loaded.spec.reads, loaded.input_width, loaded.require_dictionary().atoms.shape[1])
        return _ends[key]

    def fingerprint(self) -> str | None:
        """Return the hash of the files of the Hub, which are downloaded first; None for files of this machine.

        The content of a file of this machine is part of the identity already, as that of every setting that names one.
        """
        remote = self._remote()
        return None if remote is None else remote.fingerprint

    def learn(self, tokens: Tokens, site: LinearSite, seed: int, device: Device, progress: Progress) -> None:
        self.read(device)
        if problem := self._problem(site):
            self._forget()
            raise UserError(f"pretrained_sae: the weights of {str(self.config.weights)!r} {problem}.")
        self.notes += _other_origin(self.source, site)

    def read(self, device: Device = "cpu") -> Self:
        """Load the weights without a layer to compare them with, and return self.

        Raises:
            UserError: if they cannot be had, or are not those of a sparse autoencoder or dictionary.
        """
        remote = self._remote()
        path = Path(str(self.config.weights)) if remote is None else remote.path
        loaded = read_weights(
            path,
            self.config.format,
            device,
            name=str(self.config.weights),
            settings=self.config.settings,
            names=None if remote is None else remote.names,
        )
        self._adopt(loaded.method)
        self.source = loaded
        if remote is not None:
            self.notes.append(remote.sentence)
        self.notes += loaded.notes
        return self

    def _problem(self, site: LinearSite) -> str:
        """Return why the weights cannot be put on a site; empty if they can."""
        width, d_out = self.implementation.input_width, self.dictionary().atoms.shape[1]
        if self.spec.reads == "output":
            if width == site.d_out:
                return ""
            return (
                f"read {width} features, and the output of this layer has {site.d_out}: give the layer that they were "
                "fitted on"
            )
        if getattr(site, "kind", "linear") != "linear":
            return "are of a transcoder, and this site has no input: give a linear layer"
        if (width, d_out) == (site.d_in, site.d_out):
            return ""
        return (
            f"are of a transcoder from {width} to {d_out} features, and this layer has {site.d_in} inputs and "
            f"{site.d_out} outputs: give the layer that they were fitted on"
        )

    @property
    def implementation(self) -> Method:
        """The method that was saved."""
        return self if self.loaded is None else self.loaded

    def to(self, device: Device) -> Self:
        if self.loaded is not None:
            self.loaded.to(device)
        return self

    def encode(self, x: Tensor) -> Tensor:
        self.require_fitted()
        return self.implementation.encode(x)

    def decode(self, codes: Tensor, x: Tensor | None = None) -> Tensor:
        self.require_fitted()
        return self.implementation.decode(codes, x)

    @property
    def decode_reads_input(self) -> bool:
        return self.loaded is not None and self.loaded.decode_reads_input

    def dictionary(self) -> Dictionary:
        self.require_fitted()
        return self.implementation.require_dictionary()

    @property
    def n_units(self) -> int:
        self.require_fitted()
        return self.implementation.n_units

    @property
    def input_width(self) -> int | None:
        return None if self.loaded is None else self.loaded.input_width

    @property
    def code_width(self) -> int | None:
        return None if self.loaded is None else self.loaded.code_width

    def as_trained_dictionary(self) -> TrainedDictionary:
        self.require_fitted()
        return self.implementation.as_trained_dictionary()

    def extra_state(self) -> dict[str, Any]:
        method = self.implementation
        config = method.config.model_dump(mode="json")
        return {"loaded": {"method": method.spec.name, "config": config, "extra": method.extra_state()}}

    @classmethod
    def from_header(cls, header: dict[str, Any], path: str | Path, *, device: Device = "cpu") -> Self:
        method = cls(cls.Config(**header["config"]))
        method._adopt(read_fit(path, device, name=str(path)))
        method.notes = list(header.get("notes", []))
        return method

    def _remote(self) -> HubWeights | None:
        hub = self.config.weights.hub
        named = [value for value in self.config.settings.values() if isinstance(value, str)]
        return None if hub is None else resolve(hub, named)

    def _adopt(self, loaded: Method) -> None:
        self.loaded = loaded
        self.fitted = loaded.fitted  # type: ignore[misc]
        self.spec = _spec(type(self).spec, loaded.spec.reads)  # type: ignore[misc]
        self.notes = []

    def _forget(self) -> None:
        self.loaded = None
        self.fitted = ()  # type: ignore[misc]
        self.spec = type(self).spec  # type: ignore[misc]


def _spec(spec: MethodSpec, reads: Reads) -> MethodSpec:
    """Return the properties of weights that read the layer's input or output."""
    if reads == "output":
        return spec
    return spec._replace(reads="input", family="transcoder", title="Pretrained transcoder")


def _other_origin(source: Loaded | None, site: LinearSite) -> list[str]:
    """Return a sentence if the weights name another site or backbone than the one that they are put on."""
    path, backbone = getattr(site, "path", None), getattr(site, "backbone_name", None)
    if source is None or path is None:
        return []
    sentences = []
    if source.site is not None and not is_same_site(source.site, path):
        sentences.append(f"The weights name the site {source.site!r}, and they were put on {path!r}.")
    if source.backbone is not None and backbone is not None and not is_same_backbone(source.backbone, backbone):
        sentences.append(f"The weights name the backbone {source.backbone!r}, and they were put on {backbone!r}.")
    return sentences
