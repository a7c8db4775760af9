"""Hash of Python values that have no file and no version: code of a notebook, and objects with their tensors.

The hash covers what determines the result of a call: bytecode, plain values, arrays and tensors, and the state of
objects. Line numbers and comments do not matter. Another version of Python gives another hash of the same code.

A value whose state cannot be read, such as a lock, counts as another one in each process: the hash is then never that
of something else.
"""

from __future__ import annotations

import copyreg
import dis
import functools
import hashlib
import os
import types
import uuid
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from methods.errors import UserError
from methods.local_code import local_source

#: Attributes of a class that its author did not write.
_GENERATED = (
    *("__module__", "__dict__", "__weakref__", "__doc__", "__abstractmethods__", "_abc_impl", "__annotations__"),
    *("__signature__", "__class_vars__", "__private_attributes__", "model_fields", "model_computed_fields"),
    *("__slotnames__", "__static_attributes__", "__firstlineno__"),
)
#: pydantic keeps compiled schemas in attributes with this prefix.
_SCHEMAS = "__pydantic_"
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), type(NotImplemented))
_NAMED = (
    *(types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType),
    *(types.MemberDescriptorType, types.GetSetDescriptorType, types.ClassMethodDescriptorType, np.ufunc),
)
#: State of the base class of modules: hooks, the mode, and the containers of parameters, buffers and modules.
_OF_MODULES = frozenset(vars(nn.Module())) | {"_compiled_call_impl", "_is_torch_compile"}


def value_hash(value: Any, *, module: str | None = None) -> str:
    """Return a hash of a value as text of 16 hexadecimal digits.

    Classes and functions of one module are hashed by their code, with the classes, functions and values of that module
    that the code names; those of local files by the files; those of installed packages by their name.

    Args:
        value: the value.
        module: name of the module; default: that of the class or function, or of the class of the object.

    Raises:
        UserError: if it is nested too deeply, or reading its state raises.
    """
    if module is None:
        module = getattr(value if isinstance(value, type | FunctionType) else type(value), "__module__", "")
    digest = hashlib.blake2b(digest_size=8)
    try:
        for part in _Parts(module).of(value):
            digest.update(part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass"))
            digest.update(b"\0")
    except RecursionError:
        raise UserError(f"The {type(value).__name__} is nested too deeply to be told from others.") from None
    return digest.hexdigest()


class _Parts:
    """Texts and bytes that determine a value.

    Args:
        module: module whose code is hashed.
    """

    def __init__(self, module: str) -> None:
        self.module = module
        self.seen: dict[int, tuple[int, Any]] = {}

    def of(self, value: Any) -> Iterator[str | bytes]:
        """Yield the parts of a value; a second occurrence of an object yields its number."""
        if type(value) in _PLAIN:
            yield repr(value)
        elif isinstance(value, Tensor):
            yield from self._of_tensor(value)
        elif isinstance(value, ModuleType):
            yield f"module {value.__name__} {local_source(value.__name__)}"
        elif isinstance(value, CodeType):
            yield from self._of_code(value)
        elif id(value) in self.seen:
            yield f"again {self.seen[id(value)][0]}"
        else:
            # Kept alive, so that no other object gets the same id.
            self.seen[id(value)] = (len(self.seen), value)
            yield from self._of_object(value)

    def _of_object(self, value: Any) -> Iterator[str | bytes]:
        if isinstance(value, type):
            yield from self._of_class(value)
        elif isinstance(value, FunctionType):
            yield from self._of_function(value)
        elif isinstance(value, _NAMED):
            owner = getattr(value, "__objclass__", None) or getattr(value, "__module__", None)
            yield f"{getattr(owner, '__qualname__', owner)}.{value.__name__}"
        elif isinstance(value, nn.Module):
            yield from self._of_module(value)
        elif (parts := _wrapped(value)) is not None:
            yield type(value).__qualname__
            yield from self.of(parts)
        elif type(value) in (tuple, list):
            yield f"sequence {len(value)}"
            for each in value:
                yield from self.of(each)
        elif type(value) is dict or isinstance(value, types.MappingProxyType):
            yield f"mapping {len(value)}"
            for key, each in list(value.items()):
                yield from self.of(key)
                yield from self.of(each)
        elif isinstance(value, frozenset | set):
            yield type(value).__qualname__
            # Their order differs from process to process.
            yield from sorted(_text(_Parts(self.module).of(each)) for each in value)
        elif type(value) is np.ndarray and not value.dtype.hasobject:
            yield f"{value.dtype} {value.shape}"
            yield value.tobytes()
        else:
            yield from self._of_instance(value)

    def _of_class(self, cls: type) -> Iterator[str | bytes]:
        yield f"class {cls.__module__}.{cls.__qualname__}"
        if cls.__module__ != self.module:
            yield str(local_source(cls.__module__))
            return
        yield from self.of(cls.__bases__)
        for name, attribute in sorted(vars(cls).items()):
            if name == "__pydantic_fields__":
                yield from self.of({key: repr(field) for key, field in attribute.items()})
            elif name not in _GENERATED and not name.startswith(_SCHEMAS):
                yield name
                yield from self.of(attribute)

    def _of_function(self, function: FunctionType) -> Iterator[str | bytes]:
        yield f"function {function.__module__}.{function.__qualname__}"
        home = function.__globals__.get("__name__")
        if home == self.module:
            yield from self._of_code(function.__code__)
            yield from self.of((function.__defaults__, function.__kwdefaults__))
            for name in sorted(_globals_of(function.__code__)):
                if name in function.__globals__:
                    yield name
                    yield from self.of(function.__globals__[name])
        else:
            # A wrapper of another module, such as a decorator, is known by its file, and hashed by what it wraps.
            yield f"{home} {function.__code__.co_qualname} {local_source(str(home))}"
            if function.__module__ != self.module and function.__closure__ is None:
                return
        yield from self.of(tuple(map(_content_of, function.__closure__ or ())))
        yield from self.of(dict(vars(function)))

    def _of_code(self, code: CodeType) -> Iterator[str | bytes]:
        yield code.co_code
        yield repr((code.co_names, code.co_varnames, code.co_freevars))
        for constant in code.co_consts:
            yield from self.of(constant)

    def _of_module(self, module: nn.Module) -> Iterator[str | bytes]:
        yield from self.of(type(module))
        yield from self.of({name: each for name, each in vars(module).items() if name not in _OF_MODULES})
        yield from self.of([dict(module._parameters), dict(module._buffers), dict(module._modules)])

    def _of_tensor(self, value: Tensor) -> Iterator[str | bytes]:
        yield f"tensor {value.dtype} {tuple(value.shape)}"
        if value.device.type == "meta":
            return
        if value.is_quantized or value.is_nested:
            yield _opaque(value)
            return
        values = value.detach().cpu().to_dense().resolve_conj().resolve_neg().contiguous()
        # bfloat16 has no type in NumPy, so the bytes are viewed as integers.
        yield values.reshape(-1).view(torch.uint8).numpy().tobytes()

    def _of_instance(self, value: Any) -> Iterator[str | bytes]:
        """Yield the class and the state of an object, as it would be copied."""
        yield from self.of(type(value))
        if isinstance(value, torch.dtype | torch.device | torch.layout):
            yield str(value)
            return
        try:
            reduced = value.__reduce_ex__(2)
        except RecursionError:
            raise
        except Exception:  # locks, files, generators: nothing tells two of them apart
            yield _opaque(value)
            return
        if isinstance(reduced, str):
            yield reduced
            return
        make, arguments, *state = reduced
        # The class is hashed already.
        is_default = make in (copyreg.__newobj__, copyreg._reconstructor)  # type: ignore[attr-defined]
        yield from self.of([each for each in arguments if each is not type(value)] if is_default else (make, arguments))
        for part in state:
            yield from self.of(list(part) if isinstance(part, Iterator) else part)


def _wrapped(value: Any) -> Any:
    """Return what a wrapper of functions consists of; None if the value is none."""
    if isinstance(value, staticmethod | classmethod):
        return value.__func__
    if isinstance(value, property):
        return (value.fget, value.fset)
    if isinstance(value, functools.cached_property):
        return value.func
    if isinstance(value, functools.partial | functools.partialmethod):
        return (value.func, value.args, dict(value.keywords))
    if isinstance(value, functools.singledispatchmethod):
        return (value.func, dict(value.dispatcher.registry))
    if isinstance(value, types.MethodType):
        return (value.__self__, value.__func__)
    if isinstance(value, functools._lru_cache_wrapper):
        return value.__wrapped__
    return None


_PROCESS = uuid.uuid4().hex


def _opaque(value: Any) -> str:
    """Return a text that no other object and no other process has."""
    return f"opaque {_PROCESS} {os.getpid()} {id(value)}"


def _text(parts: Iterator[str | bytes]) -> str:
    return "|".join(part.hex() if isinstance(part, bytes) else part for part in parts)


def _globals_of(code: CodeType) -> set[str]:
    """Return the names of the module that a code object reads, those of inner functions included."""
    names = {each.argval for each in dis.get_instructions(code) if each.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return names.union(*map(_globals_of, inner))


def _content_of(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a variable without a value yet
        return None
