"""The error for requests of the user that cannot be fulfilled."""

from __future__ import annotations


class UserError(Exception):
    """A request of the user cannot be fulfilled.

    The message is one or two plain sentences: what is wrong, the value seen, what is allowed, and the command that
    fixes it. The command line prints it without a traceback and ends with exit code 2.
    """
