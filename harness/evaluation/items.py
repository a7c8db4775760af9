"""Entries of a suite from what a Python caller gives: names, files, methods, objects."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import UserError
from harness.identity import canonical
from harness.suites import MethodEntry, Suite, dictionaries
from harness.suites.entry_references import resolve_missing
from harness.suites.schema import names_of
from methods import METHODS
from methods.base import Method, make_config
from methods.file_settings import plain_config
from methods.plugin_calls import calling
from methods.pretrained.saved import is_loadable
from methods.python_object.calls import require_calls
from methods.python_object.given_fit import given_fit
from methods.python_object.object_method import object_method
from methods.registry import did_you_mean, is_built_in
from methods.setting_problems import quoted
from methods.value_hash import value_hash

#: Folder beside the store with the fits that :func:`harness.evaluate` was given.
FOLDER = "dictionaries"


class Item(NamedTuple):
    """One thing to evaluate, and the label that its caller gave it."""

    label: str | None
    value: Any

    @property
    def method_name(self) -> str | None:
        """Name of the registered method that it names, by its name or class; None for anything else."""
        if isinstance(self.value, str):
            return self.value if self.value in METHODS.names() else None
        if isinstance(self.value, type) and issubclass(self.value, Method):
            return _registered_name(self.value)
        return None


def items_of(given: Any) -> list[Item]:
    """Return the items of what a caller gave: one, a sequence of them, or a mapping of labels to them.

    Raises:
        UserError: if there is none, or one is nothing to evaluate; nothing is loaded or written for that.
    """
    if isinstance(given, Mapping):
        for label in given:
            if not isinstance(label, str) or not label.strip():
                raise UserError(f"evaluate: {quoted(label)} is no label: give a text.")
        items = [Item(label, value) for label, value in given.items()]
    elif isinstance(given, list | tuple):
        items = [Item(None, value) for value in given]
    else:
        items = [Item(None, given)]
    if not items:
        raise UserError("evaluate: nothing to evaluate was given.")
    for item in items:
        _require_item(item.value)
    return items


def _require_item(value: Any) -> None:
    if isinstance(value, str | Path):
        if not str(value).strip():
            raise UserError("evaluate: '' is neither a method nor a file.")
        return
    if isinstance(value, type) and issubclass(value, Method):
        _registered_name(value)
    elif isinstance(value, Method):
        if not value.is_fitted:
            _registered_name(type(value))
    else:
        require_calls(value)


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

    def of(self, items: Sequence[Item]) -> tuple[MethodEntry, ...]:
        """Return the entries of the items.

        Raises:
            UserError: for an item that is nothing to evaluate, or two rows with one label or one content.
        """
        entries = tuple(entry for item in items for entry in self._entries(item))
        labels = Counter(map(_label_of, entries))
        for label, count in labels.items():
            if count > 1:
                raise UserError(
                    f"evaluate: {count} rows have the label {label!r}; give a mapping of labels to methods, such as "
                    '{"mine": method}.'
                )
        of_content: dict[str, str] = {}
        for entry in entries:
            method = METHODS.get(entry.name)
            with calling(METHODS, entry.name):
                content = canonical([entry.name, plain_config(make_config(method, entry.config))])
            other = of_content.setdefault(content, _label_of(entry))
            if other != _label_of(entry):
                raise UserError(
                    f"evaluate: {other!r} and {_label_of(entry)!r} are the same method with the same settings, which "
                    "is one row: give it once."
                )
        return entries

    def _entries(self, item: Item) -> tuple[MethodEntry, ...]:
        label, value = item
        if item.method_name is not None:
            return self._named(item.method_name, label)
        if isinstance(value, str | Path):
            return self._named(str(value), label) if isinstance(value, str) else self._dictionary(str(value), label)
        if isinstance(value, Method):
            return (self._of_method(value, label),)
        cls = object_method(value, width=self.width(), title=label)
        return (self._registered(cls, {}, label),)

    def _named(self, name: str, label: str | None) -> tuple[MethodEntry, ...]:
        """Return the entries of a registered method as the suite has them, or that of a dictionary's file."""
        listed = [entry for target in self.suite.targets for entry in self.suite.entries_of(target)]
        chosen = [entry for entry in listed if name in names_of(entry)]
        if not chosen and (name.startswith("hf:") or "/" in name or _exists(_file_of(name)) or _has_ending(name)):
            return self._dictionary(name, label)
        if not chosen:
            names = [*METHODS.names(), *(entry.label for entry in listed if entry.label)]
            raise UserError(f"evaluate: {quoted(name)} is neither a method nor a file. {did_you_mean(name, names)}")
        unique = tuple(entry for number, entry in enumerate(chosen) if entry not in chosen[:number])
        if label is not None:
            if len(unique) > 1:
                labels = ", ".join(repr(_label_of(entry)) for entry in unique)
                raise UserError(
                    f"evaluate: the suite has {len(unique)} rows of {name!r} ({labels}), and one label was given; give "
                    "methods.create(NAME, ...) with the settings of one."
                )
            unique = (unique[0].model_copy(update={"label": label}),)
        return resolve_missing(unique, among=listed)

    def _dictionary(self, file: str, label: str | None) -> tuple[MethodEntry, ...]:
        if not file.startswith("hf:") and not _exists(_file_of(file)):
            raise UserError(f"evaluate: there is no file or folder {file[:200]!r}.")
        (entry,) = dictionaries.dictionary_entries([file])
        return (entry if label is None else entry.model_copy(update={"label": label}),)

    def _of_method(self, method: Method, label: str | None) -> MethodEntry:
        """Return the entry of a method: not fitted, with its settings; fitted, as a dictionary or as it is."""
        if not method.is_fitted:
            return MethodEntry(name=_registered_name(type(method)), label=label, config=_settings(method))
        title = label or f"{method.spec.title} (fitted before)"
        fit = method.implementation
        if is_loadable(type(fit)) and is_built_in(type(fit)) and not _is_patched(method) and not _is_patched(fit):
            return MethodEntry(name=dictionaries.METHOD, label=title, config={"weights": str(self._saved(fit))})
        return self._registered(given_fit(method, title=title), _settings(method), label)

    def _saved(self, fit: Method) -> Path:
        """Write a fit to a file beside the store that is named by its content, and return the file."""
        content = value_hash([list(fit.fitted_tensors().values()), _settings(fit), fit.extra_state()])
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


def _label_of(entry: MethodEntry) -> str:
    return entry.label or METHODS.get(entry.name).spec.title


def _exists(file: str) -> bool:
    try:
        return Path(file).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # too long a name, no such user, a zero byte
        return False


def _file_of(text: str) -> str:
    return dictionaries.split_label(text)[0]


def _has_ending(text: str) -> bool:
    return _file_of(text).endswith(dictionaries.ENDINGS)


def _is_patched(method: Method) -> bool:
    """Return True if an instance has a method of its own in place of that of its class."""
    return any(callable(value) and callable(getattr(type(method), name, None)) for name, value in vars(method).items())


def _registered_name(cls: type[Method]) -> str:
    """Return the name of a class of methods.

    Raises:
        UserError: if it is not registered, or another class is registered under its name.
    """
    name = getattr(getattr(cls, "spec", None), "name", None)
    entry = METHODS.entries.get(name) if isinstance(name, str) else None
    if entry is None or entry.target is not cls or not isinstance(name, str):
        raise UserError(
            f"evaluate: the method class {cls.__name__} is not registered: decorate it with @methods.register, and "
            "run its definition again after a change."
        )
    return name
