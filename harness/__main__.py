"""Entry point of ``harness`` and of ``python -m harness``."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C during its imports, about a second, prints one sentence as it does later."""
    try:
        from harness.cli import main as run_command
    except KeyboardInterrupt:
        sys.stderr.write("harness: interrupted before anything was started.\n")
        raise SystemExit(130) from None
    code = 1
    try:
        run_command()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    finally:
        from methods.plugin_threads import end_without_threads

        end_without_threads(code)


if __name__ == "__main__":
    main()
