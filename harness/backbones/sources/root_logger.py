"""Protection of the root logger from libraries that log by the functions of the module ``logging``."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def root_logger_unchanged() -> Iterator[None]:
    """Keep ``logging.info(...)`` and the like from installing a handler within the context, and from printing.

    These functions call ``logging.basicConfig`` if the root logger has no handler; then every later record of every
    library would be printed. Handlers that are installed already receive the records.
    """
    handler = logging.NullHandler()
    logging.root.addHandler(handler)
    try:
        yield
    finally:
        logging.root.removeHandler(handler)
