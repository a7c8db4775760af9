"""Registered names, read from source code without importing it.

Importing all methods or metrics takes seconds, since they import torch. A name that was mistyped needs to be compared
with those that exist, and no more. If the source does not say what is registered (a loop, a computed name), the
functions return None, and the caller imports the modules.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from methods.registry import registers


class SourceClass(NamedTuple):
    """Class with the module in whose source it is defined."""

    module: str
    node: ast.ClassDef


@lru_cache(maxsize=32)
def registered_names(package: str) -> frozenset[str] | None:
    """Return the names that the modules below a package register; None if a source does not say all of them."""
    classes = registrations(package)
    return None if classes is None else frozenset(classes)


@lru_cache(maxsize=32)
def registrations(package: str) -> dict[str, SourceClass | None] | None:
    """Return registered name -> class, or None in its place for an object; None if a source does not say all names."""
    names: dict[str, SourceClass | None] = {}
    for file, module in _modules(package):
        if not registers(file):
            continue
        for statement in tree_of(module).body:
            if isinstance(statement, ast.ClassDef):
                decorators = [one for one in statement.decorator_list if _registers(one)]
                if decorators:
                    name = _argument(decorators[0]) or _name_in(statement)
                    if name is None:
                        return None
                    names[name] = SourceClass(module, statement)
            elif not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                for call in [node for node in ast.walk(statement) if isinstance(node, ast.Call) and _registers(node)]:
                    name = _argument(call) if isinstance(statement, ast.Expr) else None
                    if name is None:
                        return None
                    names[name] = None
    return names


def _modules(package: str) -> Iterator[tuple[Path, str]]:
    """Yield file and name of each module below a package, without packages inside it that have another registry."""
    folder = _path(package)
    if folder is None:
        return
    others = [
        file.parent
        for file in folder.rglob("__init__.py")
        if file.parent != folder and "= Registry(" in file.read_text(encoding="utf-8")
    ]
    for file in sorted(folder.rglob("*.py")):
        if file.stem != "__init__" and not any(file.is_relative_to(other) for other in others):
            yield file, ".".join((package, *file.relative_to(folder).with_suffix("").parts))


def _path(module: str) -> Path | None:
    """Return the path of a module without its suffix, or of a package; only the first part of its name is imported."""
    first, *rest = module.split(".")
    spec = importlib.util.find_spec(first)
    folders = (spec.submodule_search_locations if spec else None) or ()
    return next((Path(folder, *rest) for folder in folders), None)


@lru_cache(maxsize=256)
def tree_of(module: str) -> ast.Module:
    """Return the syntax tree of a module; an empty one if its source cannot be found."""
    path = _path(module)
    file = path.with_name(f"{path.name}.py") if path else None
    if file is None or not file.is_file():
        return ast.Module(body=[], type_ignores=[])
    return ast.parse(file.read_text(encoding="utf-8"))


def _registers(node: ast.expr) -> bool:
    """Return True if an expression is ``register``, ``REGISTRY.register``, ``REGISTRY.add``, or a call of one."""
    target = node.func if isinstance(node, ast.Call) else node
    if isinstance(target, ast.Name):
        return target.id == "register"
    if not isinstance(target, ast.Attribute) or target.attr not in ("register", "add"):
        return False
    return isinstance(target.value, ast.Name) and target.value.id.isupper()


def _argument(node: ast.expr) -> str | None:
    """Return the first argument of a call if it is a literal text."""
    return _text(node.args[0]) if isinstance(node, ast.Call) and node.args else None


def _text(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _name_in(node: ast.ClassDef) -> str | None:
    """Return the text of ``spec = MethodSpec(name=...)``, ``name = ...`` or ``id = ...`` in the body of a class."""
    values = assigned(node)
    spec = values.get("spec")
    if isinstance(spec, ast.Call):
        return next((_text(keyword.value) for keyword in spec.keywords if keyword.arg == "name"), None)
    return _text(values.get("name")) or _text(values.get("id"))


def assigned(node: ast.ClassDef) -> dict[str, ast.expr]:
    """Return the names that the body of a class assigns, with their values."""
    values: dict[str, ast.expr] = {}
    for statement in node.body:
        if isinstance(statement, ast.Assign):
            values |= {target.id: statement.value for target in statement.targets if isinstance(target, ast.Name)}
        elif isinstance(statement, ast.AnnAssign) and statement.value and isinstance(statement.target, ast.Name):
            values[statement.target.id] = statement.value
    return values
