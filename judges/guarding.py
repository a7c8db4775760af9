"""Calls of a judge's own code: whatever it raises becomes one sentence, and only a real interrupt interrupts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from methods.errors import UserError
from methods.plugin_errors import plugin_errors
from results.errors import StoreError


def guarded(judge: str, call: str, advice: str = "") -> AbstractContextManager[None]:
    """Return a context that turns every exception of a judge's code into one sentence with the judge and the call.

    The code may be a plugin's, so this includes exceptions that do not derive from ``Exception`` (``SystemExit``,
    ``KeyboardInterrupt``, ``GeneratorExit``) and those whose text cannot be read.

    Args:
        judge: description that starts the sentence (``The judge 'x'``).
        call: the method or function that runs.
        advice: sentence that follows.

    Raises:
        UserError: the code raised something; a UserError or StoreError of its own is passed on.
        KeyboardInterrupt: the process received SIGINT within the context, whatever the code made of it.
    """
    return plugin_errors(judge, advice, call=call, passed=(StoreError,))


@contextmanager
def opened(judge: AbstractContextManager[Any], name: str) -> Iterator[None]:
    """Enter a judge and leave it again, both guarded. An error within the context is not replaced by one of leaving."""
    with guarded(name, "__enter__"):
        judge.__enter__()
    try:
        yield
    except BaseException as error:
        try:
            with guarded(name, "__exit__"):
                judge.__exit__(type(error), error, error.__traceback__)
        except UserError as other:
            error.add_note(str(other))
        raise
    with guarded(name, "__exit__"):
        judge.__exit__(None, None, None)
