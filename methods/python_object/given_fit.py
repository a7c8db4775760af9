"""Method of a fit that was made outside of a run: the class of the fitted method, whose ``fit`` takes its tensors."""

from __future__ import annotations

from typing import Any

from methods.base import Method
from methods.errors import UserError
from methods.python_object import MODULE
from methods.registry import is_built_in
from methods.value_hash import value_hash

#: Prefix of the name of such a method, before the name of the method that was fitted and the hash of its content.
NAME = "fitted"
#: Attributes of a fitted method that are not part of the fit.
_OF_THE_RUN = ("work_dir", "prerequisite_fit", "on_metrics", "notes")


def given_fit(method: Method, *, title: str | None = None) -> type[Method]:
    """Return a subclass of a fitted method's class whose ``fit`` returns that fit, with the same settings.

    Raises:
        UserError: if the method is not fitted.
    """
    method.require_fitted()
    state = {name: value for name, value in vars(method).items() if name not in (*_OF_THE_RUN, "config")}
    cls, spec = type(method), method.spec_with(method.config)
    settings = method.config.model_dump(mode="json")
    content = value_hash((cls, settings, state, method.extra_state()), module=cls.__module__)

    class GivenFit(cls):  # type: ignore[valid-type, misc]
        """Fit that was made outside of a run."""

        def fingerprint(self) -> str | None:
            return content

        def fit(self, tokens: Any, site: Any, *, device: Any = "cpu", **options: Any) -> Any:
            self.__dict__.update(state)
            _require_width(self, site)
            self.notes = [*method.notes, "Fitted outside of this run, on tokens that it does not know."]
            return self.to(device)

        @classmethod
        def from_header(cls, header: Any, path: Any, *, device: Any = "cpu") -> Any:
            """Return the fit itself: a file holds only what ``fitted`` and ``extra_state`` name."""
            loaded = cls(method.config)
            loaded.__dict__.update(state)
            loaded.notes = list(header.get("notes", []))
            return loaded.to(device)

        @classmethod
        def spec_with(cls, config: Any) -> Any:
            return cls.spec

        @classmethod
        def prerequisite(cls, config: Any) -> Any:
            return None

    GivenFit.__module__ = cls.__module__ if is_built_in(cls) else MODULE
    GivenFit.spec = spec._replace(
        name=f"{NAME}_{spec.name}.{content}",
        title=title or f"{spec.title} (fitted before)",
        uses_seed=False,
        fitted_elsewhere=True,
    )
    return GivenFit


def _require_width(method: Method, site: Any) -> None:
    width = site.d_in if method.spec.reads == "input" else site.d_out
    if method.input_width not in (None, width):
        raise UserError(
            f"{method.spec.title} reads {method.input_width} features, and this layer has {width}: give the layer that "
            "it was fitted on."
        )
