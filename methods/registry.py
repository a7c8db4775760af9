"""Registry of named entries: lazy, without duplicates, robust to broken plugins, with suggestions for unknown names.

The same class serves methods, backbones, datasets and metrics. Built-in entries come from the modules of one package,
each of which registers what it defines: to add an entry, add a file there. Looking one entry up imports only the
modules whose source contains the name as a string literal; listing the names imports all modules.
An entry may also be registered by its location (``"package.module:attribute"``) and is then imported on first use.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, NamedTuple, TypeVar

from methods.errors import UserError
from methods.interrupts import is_interrupt, raise_interrupt, recognisable_interrupts
from methods.plugin_errors import exits_as_exceptions, failing_threads, plugin_call, text_of, type_and_text
from methods.process_state import restored
from methods.raw_exceptions import is_a

T = TypeVar("T")

#: Packages of the harness itself: their definitions are built in, even if a plugin was the first to import them.
_OURS = ("harness", "judges", "methods", "results")


class Origin(NamedTuple):
    """Plugin that is being imported."""

    source: str
    """display text: ``plugin my_method.py``, ``package acme-methods``"""
    module: str


_importing: ContextVar[Origin | None] = ContextVar("importing", default=None)


@dataclass(frozen=True)
class BrokenPlugin:
    """Plugin that failed to load: it is listed with its reason and does not affect the others."""

    name: str
    source: str
    reason: str


@dataclass
class Entry(Generic[T]):
    """One registered name. ``target`` is the object itself or ``"module:attribute"``, imported on first use."""

    name: str
    target: T | str
    source: str
    description: str = ""
    requires: tuple[str, ...] = ()
    """Required packages that are not dependencies of the harness, for listings."""
    module: str = ""
    """The plugin's module that registered it; empty for built-in entries."""

    def load(self) -> T:
        if isinstance(self.target, str):
            module, _, attribute = self.target.partition(":")
            with nullcontext() if is_built_in(self.target) else plugin_call(f"{self.name!r} ({self.source})"):
                self.target = getattr(importlib.import_module(module), attribute)
        return self.target  # type: ignore[return-value]


def natural_key(name: str) -> list[Any]:
    """Return the sort key under which ``layer_10`` comes after ``layer_9``."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name)]


def nearest(name: str, valid_names: Iterable[str]) -> str:
    """Return ``'Did you mean x or y? '`` for an unknown ``name``, with a final space; empty if none is similar."""
    by_lower = {valid.lower(): valid for valid in valid_names}
    near = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(by_lower[each] for each in near)}? " if near else ""


#: Characters of a list of names in a message; of a longer one, the first names are printed.
_LONGEST_LIST = 130


def did_you_mean(name: str, valid_names: list[str]) -> str:
    """Return ``'Did you mean x? There are x, y.'`` for an unknown ``name``; empty sentences are omitted.

    A list that is too long for a message is omitted if there are similar names, and cut off otherwise.
    """
    verb = "is" if len(valid_names) == 1 else "are"
    similar, listed = nearest(name, valid_names), ", ".join(valid_names) or "none"
    if len(listed) <= _LONGEST_LIST:
        return f"{similar}There {verb} {listed}."
    if similar:
        return similar.rstrip()
    first = listed[: listed.rfind(", ", 0, _LONGEST_LIST)]
    return f"There {verb} {first}, and {len(valid_names) - first.count(', ') - 1} more."


def unknown_name(kind: str, name: str, names: list[str]) -> UserError:
    """Return the error for a name that is not registered, with the nearest of those that are."""
    return UserError(
        f"There is no {kind} {name!r}. {did_you_mean(name, names)} One of your own, in a file, is known to a command "
        "that is given --plugin FILE."
    )


def registers(file: Path) -> bool:
    """Return True if a source file may register something; the others need not be imported to find the names."""
    return re.search(r"\bregister(_\w+)?\b|\.add\(", file.read_text(encoding="utf-8")) is not None


@dataclass
class Registry(Generic[T]):
    """Mapping of names to objects of one ``kind`` ("method", "backbone", ...).

    ``group`` is the entry-point group under which installed packages add their own; ``package`` is the package whose
    modules hold the built-in ones (empty: they are added by hand).
    """

    kind: str
    group: str
    package: str = ""
    check: Callable[[Any], str | None] | None = None
    """Returns the problem with an object that is about to be registered, or None if there is none."""
    entries: dict[str, Entry[T]] = field(default_factory=dict)
    broken: dict[str, BrokenPlugin] = field(default_factory=dict)
    _discovered: bool = False
    _loaded_points: list[EntryPoint] = field(default_factory=list)

    def __post_init__(self) -> None:
        _registries.append(self)

    def add(
        self,
        name: str,
        target: T | str,
        *,
        source: str = "built in",
        description: str = "",
        requires: tuple[str, ...] = (),
    ) -> None:
        """Register ``target`` under ``name``.

        Raises:
            UserError: if the name is taken by something else.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.\-]*", name):
            raise UserError(f"{name!r} is no name for a {self.kind}: use letters, digits, '_', '.' and '-'.")
        problem = None if self.check is None or isinstance(target, str) else self.check(target)
        if problem is not None:
            raise UserError(f"{name!r} cannot be registered as a {self.kind}: {problem}.")
        origin = None if is_built_in(target) else _importing.get()
        if origin is not None:
            source = origin.source
            # A plugin must not take the name of a built-in entry that has not been imported yet.
            self._import_modules_with(name)
        present = self.entries.get(name)
        if present is not None and not _same_target(present.target, target):
            raise UserError(
                f"The {self.kind} name {name!r} is registered twice: {present.source} and {source}. Rename one of them."
            )
        self.entries[name] = Entry(name, target, source, description, requires, origin.module if origin else "")

    def register(self, name: str | None = None, *, description: str = "") -> Callable[[Any], Any]:
        """Register an object (decorator form of :meth:`add`).

        Without ``name`` the object's ``spec.name``, ``name`` or ``id`` is used.
        """

        def decorate(target: Any) -> Any:
            target_name = name or _name_of(target)
            if not isinstance(target_name, str):
                raise UserError(f"{target!r} has no name to register it under: give it `spec.name`.")
            self.add(target_name, target, source=getattr(target, "__module__", "?"), description=description)
            return target

        return decorate

    def discover(self) -> None:
        """Import the built-in modules and the entry points of installed packages, once.

        A broken plugin is recorded in :attr:`broken` and does not affect the others.
        """
        if self._discovered:
            return
        self._discovered = True
        with importing_from(None):
            for file, module in self._modules():
                if registers(file):
                    importlib.import_module(module)
        for point in entry_points(group=self.group):
            self._load_entry_point(point)

    def _modules(self) -> list[tuple[Path, str]]:
        """Return (file, name) of each module below :attr:`package`, without importing any of them."""
        if not self.package:
            return []
        home = importlib.import_module(self.package)
        return [
            (file, ".".join((self.package, *file.relative_to(folder).with_suffix("").parts)))
            for folder in map(Path, home.__path__)
            for file in sorted(folder.rglob("*.py"))
            if file.stem != "__init__"
        ]

    def _import_modules_with(self, name: str) -> None:
        """Import built-in modules whose source contains the literal ``name``, until one of them registers it."""
        literal = re.compile(rf"""["']{re.escape(name)}["']""")
        with importing_from(None):
            for file, module in sorted(self._modules(), key=lambda entry: entry[0].stem != name):
                if name in self.entries:
                    return
                if module not in sys.modules and literal.search(file.read_text(encoding="utf-8")):
                    importlib.import_module(module)

    def _find(self, name: str) -> None:
        """Import what registers ``name``: a built-in module, or the entry point of that name; else everything."""
        if name in self.entries or self._discovered:
            return
        self._import_modules_with(name)
        if name not in self.entries:
            for point in entry_points(group=self.group, name=name):
                self._load_entry_point(point)
        if name not in self.entries:
            self.discover()

    def _load_entry_point(self, point: EntryPoint) -> None:
        """Register what an installed package adds; a failure is recorded in :attr:`broken`."""
        if point in self._loaded_points:
            return
        self._loaded_points.append(point)
        source = f"package {point.dist.name}" if point.dist else "an installed package"
        module = point.value.partition(":")[0].strip()
        try:
            with importing_plugin(Origin(source, module)):
                self._take(point, point.load())
        except BaseException as error:
            if is_interrupt(error):
                raise_interrupt(error)
            reason = text_of(error) if is_a(error, UserError) else type_and_text(error)
            # Two packages may have broken plugins of the same name.
            key = point.name if point.name not in self.broken else f"{point.name} ({source})"
            self.broken[key] = BrokenPlugin(point.name, source, reason)

    def _take(self, point: EntryPoint, loaded: Any) -> None:
        """Register what an entry point loaded: an object, or a module that registers its objects."""
        if isinstance(loaded, ModuleType):
            if point.name not in self.entries:
                raise UserError(f"the module {loaded.__name__} registers no {self.kind} called {point.name!r}.")
            return
        name = _name_of(loaded)
        if isinstance(name, str) and name != point.name:
            raise UserError(
                f"the entry point is called {point.name!r} and the {self.kind} it loads {name!r}; give both one name."
            )
        # If a decorator has registered it already, this is the same object again.
        self.add(point.name, loaded)

    def names(self) -> list[str]:
        """Return all registered names, naturally sorted."""
        self.discover()
        return sorted(self.entries, key=natural_key)

    def get(self, name: str) -> T:
        """Return the object registered under ``name``.

        Raises:
            UserError: for an unknown name (with the nearest ones) or a plugin that failed to load (with its reason).
        """
        self._find(name)
        if name in self.entries:
            return self.entries[name].load()
        if name in self.broken:
            plugin = self.broken[name]
            raise UserError(f"The {self.kind} {name!r} of {plugin.source} could not be loaded: {plugin.reason}")
        raise unknown_name(self.kind, name, self.names())

    def __iter__(self) -> Iterator[Entry[T]]:
        return iter([self.entries[name] for name in self.names()])


#: All registries, used to find what a plugin has added to which of them.
_registries: list[Registry[Any]] = []


@contextmanager
def importing_from(origin: Origin | None) -> Iterator[None]:
    """Attribute what is registered within the context to a plugin; None: built in."""
    token = _importing.set(origin)
    try:
        yield
    finally:
        _importing.reset(token)


@contextmanager
def importing_plugin(origin: Origin) -> Iterator[None]:
    """Import a plugin within the context: what it registers is attributed to it.

    Settings of the process that the import changes are restored, and kept in :data:`changed_by_import`. Environment
    variables that it adds stay.
    """
    with contextlib.suppress(ImportError):
        import torch  # noqa: F401 - so that its settings before the import are known
    changes: list[str] = []
    with importing_from(origin), recognisable_interrupts(), exits_as_exceptions():
        try:
            with restored(changes, keep_new_variables=True), failing_threads(origin.source):
                yield
        finally:
            changed_by_import[origin.module] = tuple(changes)


#: Module of a plugin -> settings of the process that its import changed.
changed_by_import: dict[str, tuple[str, ...]] = {}


def is_built_in(target: Any) -> bool:
    """Return whether a class or function is defined in the harness's own packages."""
    if isinstance(target, type) or inspect.isroutine(target):
        target = getattr(target, "__module__", "")
    return isinstance(target, str) and re.split("[.:]", target)[0] in _OURS


def _name_of(target: Any) -> Any:
    """Return an object's ``spec.name``, ``name`` or ``id``; None if it has none."""
    spec = getattr(target, "spec", None)
    return getattr(spec, "name", None) or getattr(target, "name", None) or getattr(target, "id", None)


def registries_of(kind: str) -> list[Registry[Any]]:
    """Return the registries of a kind that exist so far: a registry exists once its module has been imported."""
    return [registry for registry in _registries if registry.kind == kind]


def registered_from(module: str) -> list[tuple[str, str]]:
    """Return (kind, name) of everything that the plugin file loaded as ``module`` has registered."""
    return [
        (registry.kind, name)
        for registry in _registries
        for name, entry in registry.entries.items()
        if entry.module == module
    ]


def forget(module: str) -> None:
    """Remove what a plugin registered before it failed."""
    sys.modules.pop(module, None)
    for registry in _registries:
        for name in [name for name, entry in registry.entries.items() if entry.module == module]:
            del registry.entries[name]


def _same_target(first: Any, second: Any) -> bool:
    """Return whether two targets are the same object, or a class of a module that was loaded twice."""
    if first is second or first == second:
        return True
    names = [(getattr(target, "__module__", ""), getattr(target, "__qualname__", "")) for target in (first, second)]
    return all(names[0]) and names[0] == names[1]
