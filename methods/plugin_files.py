"""Plugin files: Python files that are not installed, loaded by their path (``--plugin FILE``)."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

from methods.errors import UserError
from methods.interrupts import is_interrupt, raise_interrupt
from methods.local_code import INTERACTIVE, local_source
from methods.plugin_errors import LONGEST_REASON, has_text, type_and_text
from methods.raw_exceptions import is_a, traceback_of
from methods.registry import Origin, forget, importing_plugin

#: Prefix of the names under which plugin files are imported.
_PREFIX = "harness_plugin_"


_SYNTAX_ERRORS = (SyntaxError, IndentationError, TabError)


class _PluginLoader(SourceFileLoader):
    """Loader that runs exactly the hashed bytes, not bytecode of an earlier second or a later edit of the file."""

    def __init__(self, module: str, file: Path) -> None:
        super().__init__(module, str(file))
        self.source = file.read_bytes()

    @property
    def digest(self) -> str:
        return hashlib.blake2b(self.source, digest_size=8).hexdigest()

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self.source, self.path)
        return code


def require_plugin_file(path: str | Path) -> Path:
    """Return the path of a plugin file.

    Raises:
        UserError: if it is missing, or is no Python file.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(
            f"There is no plugin file {str(path)!r}. Give the path of a Python file that registers something."
        )
    if file.suffix != ".py":
        raise UserError(f"The plugin {str(path)!r} is no Python file: its name must end in .py.")
    return file


def load_plugin_file(path: str | Path) -> str:
    """Import a plugin file, so that its decorators register what it defines; return the name of its module.

    Raises:
        UserError: if the file is missing or raises while it is imported.
    """
    file = require_plugin_file(path)
    path_hash = hashlib.blake2b(str(file.resolve()).encode(), digest_size=4).hexdigest()
    module_name = f"{_PREFIX}{file.stem}_{path_hash}"
    if module_name in sys.modules:
        return module_name
    try:
        loader = _PluginLoader(module_name, file)
    except OSError as error:
        raise UserError(f"The plugin {str(path)!r} cannot be read ({error.strerror}).") from error
    spec = importlib.util.spec_from_file_location(module_name, file, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        with importing_plugin(Origin(f"plugin {path}", module_name)):
            loader.exec_module(module)
    except BaseException as error:
        forget(module_name)
        if is_interrupt(error):
            raise_interrupt(error)
        if is_a(error, UserError) and has_text(error):
            raise UserError(f"The plugin {str(path)!r}{_line_of(error, file)}: {error}") from error
        reason = f"{_line_of(error, file)}: {type_and_text(error)[:LONGEST_REASON]}"
        if type(error) is ModuleNotFoundError and (file.parent / f"{error.name}.py").is_file():
            reason += ". A plugin is one file; make what needs several a package (docs/plugins.md)"
        raise UserError(f"The plugin {str(path)!r} failed to load{reason}") from error
    return module_name


def is_plugin_module(name: str) -> bool:
    """Return whether a module is a plugin file that was given with ``--plugin``."""
    return name.startswith(_PREFIX)


def plugin_files() -> tuple[str, ...]:
    """Return the absolute paths of the plugin files that this process has loaded, in that order."""
    files = [getattr(module, "__file__", None) for name, module in sys.modules.items() if is_plugin_module(name)]
    return tuple(str(Path(file).absolute()) for file in files if file)


def plugin_source(target: Any) -> str | None:
    """Return the hash of the plugin file that defines ``target``, as it was loaded; None for installed code.

    What a notebook or a script defines has no such file, so its code is hashed (:mod:`methods.value_hash`), and of a
    module that is imported from a file beside it, the file is (:mod:`methods.local_code`).
    The hash is part of a cell's identity, so that an edit leads to new results. An edit of a file during a run changes
    neither the code that runs nor the identity of its results.
    """
    name = getattr(target, "__module__", "")
    if name == INTERACTIVE:
        from methods.value_hash import value_hash

        return value_hash(target)
    loader = getattr(sys.modules.get(name), "__loader__", None)
    return loader.digest if isinstance(loader, _PluginLoader) else local_source(name)


def _line_of(error: BaseException, file: Path) -> str:
    """Return `` at line N`` of ``file``, from the innermost frame of the traceback that lies in it."""
    frames = traceback.extract_tb(traceback_of(error))
    lines = [frame.lineno for frame in frames if Path(frame.filename).name == file.name]
    if type(error) in _SYNTAX_ERRORS and error.lineno:  # type: ignore[attr-defined]
        lines.append(error.lineno)  # type: ignore[attr-defined]
    return f" at line {lines[-1]}" if lines else ""
