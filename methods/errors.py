"""The error for requests of the user that cannot be fulfilled."""

from __future__ import annotations

from results.visible_text import short_lines


class UserError(Exception):
    """A request of the user cannot be fulfilled.

    The message is one or two plain sentences: what is wrong, the value seen, what is allowed, and the command that
    fixes it. The command line prints it without a traceback and ends with exit code 2. Very long names and values in
    it are shortened.
    """

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(short_lines(text) if isinstance(text, str) else text for text in arguments))


class ArgumentError(UserError, ValueError):
    """An argument of a public function is invalid. It is a ValueError as well, as Python's own functions raise."""


def first_line(error: BaseException) -> str:
    """Return the type and first line of an exception, to be put in brackets after a plain sentence.

    The exception may be a plugin's: its text is bounded, without control characters, and left out if it cannot be read.
    """
    name = type(error).__name__
    try:
        lines = str(error)[:2000].strip().splitlines()
    except BaseException:
        return name
    text = "".join(character if character.isprintable() else " " for character in lines[0][:200]) if lines else ""
    return f"{name}: {text}" if text else name
