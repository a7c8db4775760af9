"""Program that asks judges in processes of their own: something to kill, and a standard output to keep clean.

python tests/support/parent_of_judges.py FOLDER NAME...
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from process_judges import ProcessJudge, Squares, assignment

from judges.base import Reply
from judges.grids import Album
from judges.processes import ask_in_processes


def main(folder: Path, *names: str) -> None:
    """Ask judges, add a line per reply to the file ``replies``, and print JSON as a verb with ``--json`` does."""

    def keep(replies: Sequence[Reply]) -> None:
        with (folder / "replies").open("a") as file:
            file.writelines(f"{reply.key.judge}\n" for reply in replies)

    said: list[str] = []
    assignments = [assignment(ProcessJudge(name, folder), keep) for name in names]
    failures = ask_in_processes(assignments, Album(Squares(), folder / "grids"), said.append)
    print(json.dumps({"failures": failures, "said": len(said)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
