"""Error that is shown to the user as a message without a traceback, and the short form of other errors."""

from methods.errors import ArgumentError, UserError, first_line

__all__ = ["ArgumentError", "UserError", "first_line"]
