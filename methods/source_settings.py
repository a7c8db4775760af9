"""Settings of registered classes, read from source code without importing it: their names, types and limits.

Only what is written out is understood: ``k: Whole = Field(20, ge=1, le=100)``. A setting of another type, or a rule in
a validator, is left to the class itself.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pydantic import ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from methods.number_types import Real, Whole
from methods.setting_problems import problems_of
from methods.source_names import SourceClass, assigned, registrations, tree_of

#: Base classes without fields, at which the search for settings ends.
_ROOTS = ("MethodConfig", "BaseModel")

_TYPES: dict[str, Any] = {"int": int, "float": float, "bool": bool, "str": str, "Whole": Whole, "Real": Real}


def setting_names(package: str, name: str) -> list[str] | None:
    """Return the settings of the class registered under ``name`` below a package, as pydantic orders them.

    None if the source does not show all of them.
    """
    fields = _fields_of_registered(package, name)
    return None if fields is None else list(fields)


def wrong_values(package: str, name: str, values: Mapping[str, Any]) -> list[Any]:
    """Return pydantic's errors for those values whose setting's type and limits the source shows; often none."""
    fields = _fields_of_registered(package, name) or {}
    typed_fields: dict[str, Any] = {}
    for key in values:
        if key in fields and (field := _field(fields[key])) is not None:
            typed_fields[key] = field
    model = create_model("Settings", __config__=ConfigDict(extra="ignore", protected_namespaces=()), **typed_fields)
    try:
        model(**values)
    except ValidationError as error:
        return problems_of(error)
    return []


class _Setting(NamedTuple):
    """Field of a pydantic model, with the module in whose source it is defined."""

    module: str
    node: ast.AnnAssign


def _fields_of_registered(package: str, name: str) -> dict[str, _Setting] | None:
    registered = (registrations(package) or {}).get(name)
    config = None if registered is None else _config_of(registered)
    return None if config is None else _fields_of(config)


def _find(module: str, name: str) -> SourceClass | None:
    """Return the class that a name of a module denotes, in the module or in the one that it is imported from."""
    for statement in tree_of(module).body:
        if isinstance(statement, ast.ClassDef) and statement.name == name:
            return SourceClass(module, statement)
        if isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
            for alias in statement.names:
                if (alias.asname or alias.name) == name:
                    return _find(statement.module, alias.name)
    return None


def _bases(of: SourceClass) -> list[str]:
    """Return the names of the base classes, ``Base`` for ``Base[T]``."""
    nodes = [base.value if isinstance(base, ast.Subscript) else base for base in of.node.bases]
    return [node.id for node in nodes if isinstance(node, ast.Name)]


def _config_of(of: SourceClass) -> SourceClass | None:
    """Return the class that ``Config`` of a method denotes, its own or that of the nearest base class."""
    value = assigned(of.node).get("Config")
    if value is not None:
        return _find(of.module, value.id) if isinstance(value, ast.Name) else None
    bases = [base for name in _bases(of) if (base := _find(of.module, name)) is not None]
    return next((config for base in bases if (config := _config_of(base)) is not None), None)


def _fields_of(config: SourceClass) -> dict[str, _Setting] | None:
    """Return the fields of a pydantic model, those of its base classes first; None if a base class is not found."""
    fields: dict[str, _Setting] = {}
    for name in reversed(_bases(config)):
        if name in _ROOTS:
            continue
        base = _find(config.module, name)
        inherited = None if base is None else _fields_of(base)
        if inherited is None:
            return None
        fields |= inherited
    for statement in config.node.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        if "ClassVar" not in ast.dump(statement.annotation):
            fields[statement.target.id] = _Setting(config.module, statement)
    return fields


def _field(setting: _Setting) -> tuple[Any, FieldInfo] | None:
    """Return type and limits of a field; None if they are not written out."""
    annotation = _type(setting.module, setting.node.annotation)
    value = setting.node.value
    if annotation is None:
        return None
    if not isinstance(value, ast.Call):
        return annotation, Field()
    if not isinstance(value.func, ast.Name) or value.func.id != "Field":
        return None
    try:
        limits = {keyword.arg: ast.literal_eval(keyword.value) for keyword in value.keywords if keyword.arg}
    except ValueError:
        return None
    return annotation, Field(**{key: limits[key] for key in ("ge", "gt", "le", "lt") if key in limits})


def _alias(module: str, name: str) -> Any:
    """Return the type that a module, or the one that it imports the name from, assigns to a name; None if none does."""
    for statement in tree_of(module).body:
        if isinstance(statement, ast.Assign):
            if any(isinstance(target, ast.Name) and target.id == name for target in statement.targets):
                return _type(module, statement.value)
        elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
            for alias in statement.names:
                if (alias.asname or alias.name) == name:
                    return _alias(statement.module, alias.name)
    return None


def _type(module: str, node: ast.expr) -> Any:
    """Return the type that an annotation denotes, such as ``int | None`` or ``Literal["a"]``; None if it is another."""
    if isinstance(node, ast.Name):
        return _TYPES.get(node.id) or _alias(module, node.id)
    if isinstance(node, ast.BinOp) and isinstance(node.right, ast.Constant) and node.right.value is None:
        inner = _type(module, node.left)
        return None if inner is None else inner | None
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Literal":
        try:
            values = ast.literal_eval(node.slice)
        except ValueError:
            return None
        return Literal[values]
    return None
