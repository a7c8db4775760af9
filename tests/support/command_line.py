"""The command line: in this process, which saves seconds of imports, or in a process of its own."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

from paths import ROOT

Done = subprocess.CompletedProcess[str]


def harness(*arguments: str, cwd: Path, code: int | None = 0, **environment: str) -> Done:
    """Run ``harness ARGUMENTS`` in this process, and forget the plugins that it loaded.

    Args:
        cwd: working directory.
        code: the expected exit code; None: any.
        environment: environment variables.
    """
    from harness.cli import main
    from methods.plugin_files import is_plugin_module
    from methods.registry import forget

    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    loaded = set(sys.modules)
    returned = 0
    with (
        contextlib.chdir(cwd),
        patch.dict(os.environ, {"COLUMNS": "160", **environment}),
        patch.object(sys, "argv", ["harness", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            returned = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            for name in set(sys.modules) - loaded:
                if is_plugin_module(name):
                    forget(name)
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return _checked(subprocess.CompletedProcess(arguments, returned, *texts), code)


def harness_process(*arguments: str, cwd: Path, code: int = 0, **environment: str) -> Done:
    """Run ``harness ARGUMENTS`` in a process of its own; see :func:`harness`."""
    done = subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "160", **environment},
    )
    return _checked(done, code)


def _checked(done: Done, code: int | None) -> Done:
    assert code in (None, done.returncode), f"{done.args} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done
