"""Error that is shown to the user as a message without a traceback."""

from methods.errors import UserError

__all__ = ["UserError"]
