"""Parts that a run writes and a document leaves out, so that a number cannot be computed again or compared."""

from __future__ import annotations

from collections.abc import Iterator

from results.submissions.documents import key_parts
from results.submissions.folder import Document, Folder
from results.submissions.guards import Finding

#: Scores that every run gives a standard error if they are defined.
WITH_ERROR = ("ms_score", "ms_score_adjusted", "ms_score_token_adjusted", "r2", "fvu", "kl", "accuracy", "agreement")
#: Scores that follow from the outcomes of the images.
OF_IMAGES = ("accuracy", "agreement")


def omissions(folder: Folder) -> Iterator[Finding]:
    """Yield warnings on cells without standard errors, or without the outcomes of their images."""
    for cell in folder.cells:
        scores = {(key_parts(key) or ("",))[0]: score for key, score in cell.content["scores"].items()}
        without = [name for name in WITH_ERROR if _is_defined(scores.get(name)) and "uncertainty" not in scores[name]]
        if without:
            yield _warning(cell, "scores", f"have no standard error: {', '.join(without)}. A run states them.")
        if "outcomes" not in cell.content["tables"] and any(_is_defined(scores.get(name)) for name in OF_IMAGES):
            yield _warning(cell, "tables", "lack outcomes, so accuracy and agreement are not computed again.")


def _is_defined(score: dict[str, object] | None) -> bool:
    return score is not None and score.get("value") not in (None, "NaN")


def _warning(cell: Document, field: str, why: str) -> Finding:
    return Finding(cell.problem(field, why), is_warning=True)
