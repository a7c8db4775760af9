"""The check of a results repository that a maintainer's CI runs: `harness verify --strict FOLDER`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from results.store import open_store
from results.submissions.contradictions import contradictions
from results.submissions.files import FolderProblem
from results.submissions.folder import Folder, read_folder
from results.submissions.guards import findings
from results.submissions.omissions import omissions
from results.submissions.rebuild import rebuild
from results.verify import StoreProblem, verify


class StrictVerdict(NamedTuple):
    """Result of the check of a folder."""

    folder: str
    counts: Mapping[str, int]
    """number of files, cells, groups, image sets and tournaments that were read"""
    checked: Mapping[str, int]
    """check -> number of rows it tested"""
    problems: list[FolderProblem]
    warnings: list[FolderProblem]
    """what a reviewer should know, and no reason to refuse the folder"""

    @property
    def n_checked(self) -> int:
        """Number of tested rows of all checks."""
        return sum(self.checked.values())

    def as_json(self) -> dict[str, Any]:
        """Return the verdict as JSON content."""
        lists = {"problems": self.problems, "warnings": self.warnings}
        return {**self._asdict(), **{name: [item._asdict() for item in items] for name, items in lists.items()}}


def verify_strict(folder: Path) -> StrictVerdict:
    """Check a results repository, or its folder `results`: its files, and the store that is made from them.

    Raises:
        StoreError: there is no such folder, or it is too large to be read.
    """
    content = read_folder(folder)
    problems, warnings = list(content.problems), []
    checked: Mapping[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="harness-") as scratch_dir:
        path = Path(scratch_dir) / "submissions.duckdb"
        problems += rebuild(content, path)
        store = open_store(path)
        verdict = verify(store)
        checked = verdict.checked
        problems += [_located(problem, content) for problem in verdict.problems]
        warnings += [FolderProblem("", "", note) for note in verdict.notes]
        for finding in (*findings(content, store), *contradictions(content), *omissions(content)):
            (warnings if finding.is_warning else problems).append(finding.problem)
    if not content.n_files:
        problems.append(FolderProblem("", "", f"there is no result in {content.root}."))
    counts = {"files": content.n_files, **{kind: len(items) for kind, items in content.documents.items()}}
    return StrictVerdict(str(folder), counts, checked, problems, warnings)


def _located(problem: StoreProblem, folder: Folder) -> FolderProblem:
    """Return a problem of the store with the file that it comes from."""
    file = next((str(cell.path) for cell in folder.cells if cell.content["cell_id"] == problem.cell_id), "")
    return FolderProblem(file, "", f"({problem.check}) {problem.where} {problem.why}")
