"""Server of the app, ``python -m results.app.serve [streamlit options]``: ready for its first page when it listens.

Streamlit imports the app when the first page is requested, so the reader would wait for pandas, DuckDB and the store.
Here everything is imported first, and the boards are built. The server does not wait for a locked store.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
import threading

_PATIENCE_S = 1.0


def main() -> None:
    """Run the server until it is ended."""
    from streamlit.web import cli

    from results.app import data, front_standing, screens
    from results.app import main as entry

    for screen in pkgutil.iter_modules(screens.__path__, f"{screens.__name__}."):
        importlib.import_module(screen.name)
    preparing = threading.Thread(target=data.prepare, args=(front_standing.prepare,), daemon=True)
    preparing.start()
    # At its first element streamlit inspects the call stack; the list of all modules' files that this needs takes
    # longer to build than the page, and Python caches it.
    inspect.stack()
    preparing.join(_PATIENCE_S)
    sys.argv = ["streamlit", "run", str(entry.__file__), *sys.argv[1:]]
    cli.main(prog_name="streamlit")


if __name__ == "__main__":
    main()
