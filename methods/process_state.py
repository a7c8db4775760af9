"""State of the process that a plugin may change, and that is put back after each call of a plugin.

Without it a plugin that sets torch's default dtype, closes standard output or changes the working folder would change
the results of the cells after it, or lose them. The environment variables that an import adds are kept, since libraries
set what they need; everything else in :data:`SETTINGS` is restored.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import gc
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from methods.descriptors import kept_descriptors


class Setting(NamedTuple):
    """One setting of the process."""

    name: str
    get: Callable[[], Any]
    restore: Callable[[Any], object]
    printed: bool = True
    """True if the value is short, so that a sentence can show it"""


def _attribute(module: Any, name: str, title: str = "") -> Setting:
    return Setting(
        title or f"{module.__name__}.{name}",
        lambda: getattr(module, name),
        lambda value: setattr(module, name, value),
        printed=False,
    )


class _Stream:
    """Standard stream, and whether it was open; compared by identity, since its comparison is code of the plugin."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.is_open = stream is not None and not self._is_closed(stream)

    @staticmethod
    def _is_closed(stream: Any) -> bool:
        try:
            return bool(stream.closed)
        except Exception:
            return False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Stream) and self.stream is other.stream and self.is_open == other.is_open

    __hash__ = None  # type: ignore[assignment]


def _stream(name: str, number: int) -> Setting:
    """Return the setting of a standard stream; one that was closed is opened again, which its file allows."""

    def restore(before: _Stream) -> None:
        stream = before.stream
        if before.is_open and not _Stream(stream).is_open:
            with contextlib.suppress(OSError):
                mode = "r" if number == 0 else "w"
                stream = open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)

    return Setting(f"sys.{name}", lambda: _Stream(getattr(sys, name)), restore, printed=False)


#: Signals that Python programs handle; to ask for all 64 would take longer than a small batch.
_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM, signal.SIGPIPE, signal.SIGCHLD)


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in _SIGNALS}


def _restore_handlers(before: dict[int, Any]) -> None:
    if threading.current_thread() is not threading.main_thread():
        return
    for number, handler in before.items():
        # None: a handler that was not installed from Python, which cannot be installed again.
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def _restore_interrupt_handler(handler: Any) -> None:
    _restore_handlers({signal.SIGINT: handler})


def _blocked_signals() -> frozenset[int]:
    return frozenset(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ())))


def _restore_blocked_signals(blocked: frozenset[int]) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


def _timers() -> tuple[bool, ...]:
    return tuple([signal.getitimer(timer)[0] > 0 for timer in _TIMERS])


def _restore_timers(before: tuple[bool, ...]) -> None:
    for timer, running in zip(_TIMERS, before, strict=True):
        # A timer of an earlier caller cannot be told from one of the plugin: it is kept.
        if not running:
            signal.setitimer(timer, 0)


def _folder() -> str | None:
    try:
        return str(Path.cwd())
    except OSError:
        return None


def _restore_folder(folder: str | None) -> None:
    with contextlib.suppress(OSError):
        if folder is not None:
            os.chdir(folder)


def _restore_environment(before: dict[str, str]) -> None:
    for name in set(os.environ) - set(before):
        del os.environ[name]
    os.environ.update({name: value for name, value in before.items() if os.environ.get(name) != value})


def _restore_filters(before: list[Any]) -> None:
    warnings.resetwarnings()
    warnings.filters.extend(before)  # type: ignore[attr-defined]


_ENVIRONMENT = Setting("os.environ", lambda: dict(os.environ), _restore_environment, printed=False)

#: Settings that take long to read.
SLOW_SETTINGS = (_ENVIRONMENT, Setting("the signal handlers", _handlers, _restore_handlers, printed=False))

#: Settings of Python.
SETTINGS: tuple[Setting, ...] = (
    _stream("stdin", 0),
    _stream("stdout", 1),
    _stream("stderr", 2),
    _attribute(sys, "excepthook"),
    _attribute(sys, "unraisablehook"),
    _attribute(threading, "excepthook"),
    _attribute(os, "_exit"),
    _attribute(warnings, "showwarning"),
    Setting("the filters of warnings", lambda: list(warnings.filters), _restore_filters, printed=False),
    Setting("the timer of signals", _timers, _restore_timers, printed=False),
    # These two keep Ctrl-C working between two calls.
    Setting(
        "the handler of SIGINT", lambda: signal.getsignal(signal.SIGINT), _restore_interrupt_handler, printed=False
    ),
    Setting("the blocked signals", _blocked_signals, _restore_blocked_signals, printed=False),
    Setting("the trace function", sys.gettrace, sys.settrace, printed=False),
    Setting("the profile function", sys.getprofile, sys.setprofile, printed=False),
    Setting("the working folder", _folder, _restore_folder),
    Setting("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    Setting("garbage collection", gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
)


@functools.cache
def _numpy_settings(numpy: Any) -> tuple[Setting, ...]:
    """Return the settings of numpy, or none if it has not been imported."""
    if numpy is None or not hasattr(numpy, "seterr"):
        return ()
    return (Setting("numpy's error handling", numpy.geterr, lambda value: numpy.seterr(**value)),)


@functools.cache
def _torch_settings(torch: Any) -> tuple[Setting, ...]:
    """Return the settings of torch, or none if it has not been imported."""
    if torch is None or not hasattr(torch, "get_default_device"):
        return ()

    def restore_device(device: str) -> None:
        torch.set_default_device(None if device == "cpu" else device)

    def deterministic() -> tuple[bool, bool]:
        return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()

    def restore_deterministic(before: tuple[bool, bool]) -> None:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])

    cudnn = torch.backends.cudnn
    return (
        Setting("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
        Setting("torch's default device", lambda: str(torch.get_default_device()), restore_device),
        Setting("torch's gradient mode", torch.is_grad_enabled, torch.set_grad_enabled),
        Setting("torch's deterministic algorithms", deterministic, restore_deterministic),
        Setting("torch's number of threads", torch.get_num_threads, torch.set_num_threads),
        Setting("torch's matmul precision", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
        Setting("torch's anomaly mode", torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
        _attribute(cudnn, "benchmark", "torch.backends.cudnn.benchmark"),
        _attribute(cudnn, "deterministic", "torch.backends.cudnn.deterministic"),
        _attribute(cudnn, "allow_tf32", "torch.backends.cudnn.allow_tf32"),
    )


@contextmanager
def restored(
    changes: list[str] | None = None, *, keep_new_variables: bool = False, brief: bool = False
) -> Iterator[None]:
    """Restore the settings of the process at the end of the context.

    Args:
        changes: receives one phrase per setting that was changed (``torch's default dtype (torch.float32 to ...)``).
        brief: leave :data:`SLOW_SETTINGS` out, for calls of a fraction of a millisecond.
        keep_new_variables: keep environment variables that were added, as imports of libraries do.
    """
    modules = sys.modules
    libraries = (*_numpy_settings(modules.get("numpy")), *_torch_settings(modules.get("torch")))
    settings = (*SETTINGS, *libraries, *(() if brief else SLOW_SETTINGS))
    before = [(setting, setting.get()) for setting in settings]
    built_in = {**builtins.__dict__}
    try:
        with nullcontext() if brief else kept_descriptors(changes):
            yield
    finally:
        # Built-in functions come first: what follows calls them.
        present_built_in = {**builtins.__dict__}
        builtins.__dict__.update(built_in)
        _put_back(before, changes, keep_new_variables)
        if present_built_in != built_in:
            for name in present_built_in.keys() - built_in.keys():
                del builtins.__dict__[name]
            if changes is not None:
                changes.append("Python's built-in functions")


def _put_back(before: list[tuple[Setting, Any]], changes: list[str] | None, keep_new_variables: bool) -> None:
    """Restore every setting, also if an exception is raised in between; that is raised at the end."""
    failure: BaseException | None = None
    for setting, value in before:
        try:
            phrase = _restored_setting(setting, value, keep_new_variables)
        except BaseException as error:
            failure = error if failure is None else failure
        else:
            if phrase and changes is not None:
                changes.append(phrase)
    if failure is not None:
        raise failure


def _restored_setting(setting: Setting, value: Any, keep_new_variables: bool) -> str:
    """Restore one setting and return a phrase about its change; empty if there was none."""
    present = setting.get()
    if setting is _ENVIRONMENT and keep_new_variables:
        value = {**present, **value}
    if _same(present, value):
        return ""
    setting.restore(value)
    if setting is _ENVIRONMENT and all(present.get(name) == value[name] for name in value):
        return ""  # only additions, which imports of libraries make
    return f"{setting.name} ({value} to {present})" if setting.printed else setting.name


def _same(present: Any, value: Any) -> bool:
    # Objects such as streams are compared by identity: their comparison is code of the plugin.
    return present is value or (type(present) is type(value) and isinstance(present, _PLAIN) and present == value)


_PLAIN = (bool, int, float, str, tuple, list, dict, frozenset, _Stream)


@contextmanager
def restored_generators() -> Iterator[None]:
    """Restore the global random generators of Python, numpy and torch (CPU) at the end of the context."""
    import numpy as np

    torch: Any = sys.modules.get("torch")
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    state = None if torch is None else torch.random.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        if state is not None:
            torch.random.set_rng_state(state)
