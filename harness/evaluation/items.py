"""Entries of a suite from what a Python caller gives: names, files, methods, objects."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.suites import MethodEntry, Suite, dictionaries
from harness.suites.entry_references import resolve_missing
from harness.suites.schema import names_of
from methods import METHODS
from methods.base import Method
from methods.pretrained.saved import is_loadable
from methods.pretrained.trained_dictionary import TrainedDictionary
from methods.python_object.given_fit import given_fit
from methods.python_object.object_method import object_method
from methods.registry import did_you_mean
from methods.setting_problems import quoted
from methods.value_hash import value_hash

#: Folder beside the store with the fits that :func:`harness.evaluate` was given.
FOLDER = "dictionaries"


class Entries:
    """Entries of one evaluation. Methods of Python objects are registered while it is open.

    Args:
        suite: suite whose settings a method that is given by its name has.
        width: returns the number of features of the layer's output, which loads the backbone.
        folder: folder of the store.
    """

    def __init__(self, suite: Suite, width: Callable[[], int], folder: Path) -> None:
        self.suite = suite
        self.width = width
        self.folder = folder
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Entries:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def of(self, given: Any) -> tuple[MethodEntry, ...]:
        """Return the entries of what the caller gave: one item, a sequence of them, or a mapping of labels to them.

        Raises:
            UserError: for an item that is nothing to evaluate, or two rows with one label.
        """
        entries = tuple(entry for label, item in _labelled(given) for entry in self._entries(item, label))
        labels = Counter(entry.label or METHODS.get(entry.name).spec.title for entry in entries)
        for label, count in labels.items():
            if count > 1:
                raise UserError(
                    f"evaluate: {count} rows have the label {label!r}; give a mapping of labels to methods, such as "
                    '{"mine": method}.'
                )
        return entries

    def _entries(self, item: Any, label: str | None) -> tuple[MethodEntry, ...]:
        if isinstance(item, Path):
            if not item.expanduser().exists():
                raise UserError(f"evaluate: there is no file or folder {str(item)!r}.")
            return self._dictionary(str(item), label)
        if isinstance(item, str):
            return self._named(item, label)
        if isinstance(item, type) and issubclass(item, Method):
            _require_registered(item)
            return (MethodEntry(name=item.spec.name, label=label),)
        if isinstance(item, Method):
            return (self._of_method(item, label),)
        cls = object_method(item, width=self.width(), title=label)
        return (self._registered(cls, {}, label),)

    def _named(self, name: str, label: str | None) -> tuple[MethodEntry, ...]:
        """Return the entries of a registered method as the suite has them, or that of a dictionary's file."""
        listed = [entry for target in self.suite.targets for entry in self.suite.entries_of(target)]
        chosen = [entry for entry in listed if name in names_of(entry)]
        if not chosen and (name.startswith("hf:") or dictionaries.is_weights(name) or Path(name).suffix):
            return self._dictionary(name, label)
        if not chosen:
            if name not in METHODS.names():
                raise UserError(
                    f"evaluate: {quoted(name)} is neither a method nor a file. {did_you_mean(name, METHODS.names())}"
                )
            chosen = [MethodEntry(name=name)]
        unique = tuple(entry for number, entry in enumerate(chosen) if entry not in chosen[:number])
        if label is not None:
            if len(unique) > 1:
                labels = ", ".join(repr(entry.label or entry.name) for entry in unique)
                raise UserError(f"evaluate: {label!r} names {len(unique)} rows of {name!r}; give one of {labels}.")
            unique = (unique[0].model_copy(update={"label": label}),)
        return resolve_missing(unique, among=listed)

    def _dictionary(self, file: str, label: str | None) -> tuple[MethodEntry, ...]:
        (entry,) = dictionaries.dictionary_entries([file])
        return (entry if label is None else entry.model_copy(update={"label": label}),)

    def _of_method(self, method: Method, label: str | None) -> MethodEntry:
        """Return the entry of a method: not fitted, with its settings; fitted, as a dictionary or as it is."""
        if not method.is_fitted:
            _require_registered(type(method))
            return MethodEntry(name=method.spec.name, label=label, config=_settings(method))
        title = label or f"{method.spec.title} (fitted before)"
        fit = method.implementation
        if is_loadable(type(fit)) and (_is_registered(type(fit)) or type(fit) is TrainedDictionary):
            return MethodEntry(name=dictionaries.METHOD, label=title, config={"weights": str(self._saved(fit))})
        return self._registered(given_fit(method, title=title), _settings(method), label)

    def _saved(self, fit: Method) -> Path:
        """Write a fit to a file beside the store that is named by its content, and return the file."""
        tensors = [getattr(fit, name) for name in fit.fitted]
        content = value_hash([tensors, _settings(fit), fit.extra_state()])
        return fit.save(self.folder / FOLDER / f"{fit.spec.name}-{content}.safetensors").absolute()

    def _registered(self, cls: type[Method], config: dict[str, Any], label: str | None) -> MethodEntry:
        name = cls.spec.name
        if name not in METHODS.entries:
            METHODS.add(name, cls, source="harness.evaluate")
            self._open.callback(METHODS.entries.pop, name, None)
        return MethodEntry(name=name, label=label, config=config)


def _settings(method: Method) -> dict[str, Any]:
    settings: dict[str, Any] = method.config.model_dump(mode="json")
    return settings


def _is_registered(cls: type[Method]) -> bool:
    entry = METHODS.entries.get(cls.spec.name)
    return entry is not None and entry.target is cls


def _require_registered(cls: type[Method]) -> None:
    """Check that a class of methods can be named by a suite.

    Raises:
        UserError: if it is not registered, or another class is registered under its name.
    """
    if not _is_registered(cls):
        raise UserError(
            f"evaluate: the method class {cls.__name__} is not registered: decorate it with @methods.register, and "
            "run its definition again after a change."
        )


def _labelled(given: Any) -> Sequence[tuple[str | None, Any]]:
    if isinstance(given, Mapping):
        for label in given:
            if not isinstance(label, str) or not label.strip():
                raise UserError(f"evaluate: {quoted(label)} is no label: give a text.")
        pairs: Sequence[tuple[str | None, Any]] = list(given.items())
    elif isinstance(given, list | tuple | set | frozenset):
        pairs = [(None, item) for item in given]
    else:
        pairs = [(None, given)]
    if not pairs:
        raise UserError("evaluate: nothing to evaluate was given.")
    return pairs
