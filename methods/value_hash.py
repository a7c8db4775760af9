"""Hash of Python values that have no file and no version: code of a notebook, and objects with their tensors.

The hash covers what determines the result of a call: bytecode, plain values, arrays and tensors, and the attributes of
objects. Line numbers and comments do not matter. Another version of Python gives another hash of the same code.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

#: Attributes of a class that its author did not write.
_GENERATED = ("__module__", "__dict__", "__weakref__", "__doc__", "__abstractmethods__", "_abc_impl", "__annotations__")
_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_WRAPPERS = (staticmethod, classmethod)


def value_hash(value: Any, *, module: str | None = None) -> str:
    """Return a hash of a value as text of 16 hexadecimal digits.

    The value's own module is ``module``, by default that of the class or function, or of the class of the object.
    Classes and functions of the value's own module are hashed with everything of that module that their code names;
    those of other modules are known by their name. Of objects, those of the value's own package, modules of torch and
    dataclasses are hashed with their attributes; others are known by the name of their class.
    """
    if module is None:
        module = getattr(value if isinstance(value, type | FunctionType) else type(value), "__module__", "")
    digest = hashlib.blake2b(digest_size=8)
    for part in _Parts(module).of(value):
        digest.update(part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass"))
        digest.update(b"\0")
    return digest.hexdigest()


class _Parts:
    """Texts and bytes that determine a value.

    Args:
        module: module whose code is hashed; the attributes of objects are, of its whole top-level package.
    """

    def __init__(self, module: str) -> None:
        self.module = module
        self.package = module.partition(".")[0]
        self.seen: dict[int, Any] = {}

    def of(self, value: Any) -> Iterator[str | bytes]:
        """Yield the parts of a value; a second occurrence of an object yields its number."""
        if isinstance(value, _PLAIN):
            yield repr(value)
        elif isinstance(value, Tensor):
            yield from _tensor_parts(value)
        elif isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
            yield f"{value.dtype} {value.shape}"
            yield value.tobytes()
        elif isinstance(value, ModuleType):
            yield value.__name__
        elif isinstance(value, CodeType):
            yield from self._of_code(value)
        elif id(value) in self.seen:
            yield f"again {list(self.seen).index(id(value))}"
        else:
            # Kept alive, so that no other object gets the same id.
            self.seen[id(value)] = value
            yield from self._of_object(value)

    def _of_object(self, value: Any) -> Iterator[str | bytes]:
        if isinstance(value, Mapping):
            yield f"mapping {len(value)}"
            for key, each in list(value.items()):
                yield repr(key) if isinstance(key, _PLAIN) else type(key).__qualname__
                yield from self.of(each)
        elif isinstance(value, functools.partial):
            yield from self.of((value.func, value.args, value.keywords))
        elif isinstance(value, tuple | list | np.ndarray):
            yield f"sequence {len(value)}"
            for each in value:
                yield from self.of(each)
        elif isinstance(value, frozenset | set):
            # Their order differs from process to process.
            yield f"set {sorted(map(repr, value))}"
        elif isinstance(value, _WRAPPERS):
            yield from self.of(value.__func__)
        elif isinstance(value, property):
            yield from self.of((value.fget, value.fset))
        elif isinstance(value, type):
            yield from self._of_class(value)
        elif inspect.ismethod(value):
            yield from self.of((value.__self__, value.__func__))
        elif isinstance(value, FunctionType):
            yield from self._of_function(value)
        else:
            yield from self._of_instance(value)

    def _of_class(self, cls: type) -> Iterator[str | bytes]:
        yield f"{cls.__module__}.{cls.__qualname__}"
        if cls.__module__ != self.module:
            return
        yield from self.of(cls.__bases__)
        for name, attribute in sorted(vars(cls).items()):
            if name not in _GENERATED:
                yield name
                yield from self.of(attribute)

    def _of_function(self, function: FunctionType) -> Iterator[str | bytes]:
        function = inspect.unwrap(function)
        yield f"{function.__module__}.{function.__qualname__}"
        if function.__module__ != self.module:
            return
        yield from self._of_code(function.__code__)
        yield from self.of((function.__defaults__, function.__kwdefaults__))
        yield from self.of(tuple(map(_content_of, function.__closure__ or ())))
        for name in sorted(_names_in(function.__code__)):
            if name in function.__globals__:
                yield name
                yield from self.of(function.__globals__[name])

    def _of_code(self, code: CodeType) -> Iterator[str | bytes]:
        yield code.co_code
        yield repr((code.co_names, code.co_varnames, code.co_freevars))
        for constant in code.co_consts:
            yield from self.of(constant)

    def _of_instance(self, value: Any) -> Iterator[str | bytes]:
        cls = type(value)
        yield from self.of(cls)
        if isinstance(value, nn.Module):
            # Hooks, the mode and other state of the base class are left out.
            attributes = {k: each for k, each in vars(value).items() if not k.startswith("_") and k != "training"}
            yield from self.of({**attributes, **value._parameters, **value._buffers, **value._modules})
        elif cls.__module__.partition(".")[0] == self.package or dataclasses.is_dataclass(value):
            yield from self.of(dict(getattr(value, "__dict__", {})))


def _tensor_parts(value: Tensor) -> Iterator[str | bytes]:
    values = value.detach().cpu().to_dense().resolve_conj().resolve_neg().contiguous()
    yield f"{value.dtype} {tuple(value.shape)}"
    # bfloat16 has no type in NumPy, so the bytes are viewed as integers.
    yield values.reshape(-1).view(torch.uint8).numpy().tobytes()


def _names_in(code: CodeType) -> set[str]:
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*map(_names_in, inner))


def _content_of(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a variable without a value yet
        return None
