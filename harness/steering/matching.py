"""Units that match a concept by the similarity of their labels to it.

The paper matches a concept to the kappa units whose labels are most similar to it, by the cosine similarity of text
representations of a SentenceTransformer. A text matcher gives the similarities, and :func:`matching_units` chooses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import ArgumentError, UserError
from results.nearest_names import alternatives
from results.visible_text import names_text, one_line

#: Most labels among which an error message looks for those spelled like the concept.
_MOST_LABELS = 1000
#: Most characters of a label that are compared in spelling.
_MOST_CHARACTERS = 80
#: Most labels that an error message lists.
_MOST_LISTED = 5


class TextMatcher(ABC):
    """Similarity of concepts to labels.

    Attributes:
        threshold: similarity that a unit's label must exceed to match, unless the user gives another.
    """

    threshold: float

    @property
    @abstractmethod
    def id(self) -> str:
        """Name and version or content hash; part of identities, as in ``words@1``."""

    @abstractmethod
    def similarity(self, concepts: Sequence[str], labels: Sequence[str]) -> NDArray[np.float32]:
        """Return the similarities (n_concepts, n_labels) in [-1, 1]; 1 for equal texts with at least one word.

        Concepts and labels may be any texts, such as empty or very long ones, and may be repeated. An empty text has
        similarity 0 to every text. Pass all concepts in one call, since each call reads all labels.
        """


def matching_units(
    similarity_row: ArrayLike,
    units: ArrayLike,
    scores: ArrayLike,
    kappa: int,
    threshold: float,
    *,
    concept: str,
    labels: Sequence[str],
) -> NDArray[np.int64]:
    """Return the at most ``kappa`` units whose labels are most similar to a concept, the most similar first.

    Units of equal similarity are ordered by the score of their label, higher first, then by their number.

    Args:
        similarity_row: similarity (n,) of the concept to each unit's label; NaN never matches.
        units: numbers (n,) of the units, without repetition.
        scores: scores (n,) of the labels; NaN comes last.
        kappa: largest number of units, at least 1.
        threshold: similarity that a unit must exceed.
        concept: text of the concept, for the error message.
        labels: label of each unit (n), for the error message.

    Raises:
        ArgumentError: if kappa or the threshold is invalid, or the lengths differ.
        UserError: if no unit matches; it names the concept and the nearest labels.
    """
    similarities, keys = np.asarray(similarity_row, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    numbers = np.asarray(units, dtype=np.int64)
    lengths = {
        "similarities": similarities.shape,
        "units": numbers.shape,
        "scores": keys.shape,
        "labels": (len(labels),),
    }
    if len(set(lengths.values())) > 1 or numbers.ndim != 1:
        given = ", ".join(f"{name} {shape}" for name, shape in lengths.items())
        raise ArgumentError(
            f"Similarities, units, scores and labels must be one-dimensional and equally long: {given}."
        )
    _require_settings(kappa, threshold)
    order = _ordered(similarities, keys, numbers)
    # NaN exceeds no threshold.
    matched = order[similarities[order] > threshold][:kappa]
    if not len(matched):
        raise UserError(_no_match(concept, [str(labels[index]) for index in order], similarities[order], threshold))
    return numbers[matched]


def _require_settings(kappa: Any, threshold: Any) -> None:
    if isinstance(kappa, bool) or not isinstance(kappa, int | np.integer) or kappa < 1:
        raise ArgumentError(f"kappa = {kappa!r} must be a whole number of units, at least 1.")
    if not -1 <= threshold < 1:
        raise ArgumentError(f"The threshold of the similarity is {threshold!r}, and must be at least -1 and below 1.")


def _ordered(
    similarities: NDArray[np.float64], scores: NDArray[np.float64], units: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the positions by similarity and score, both descending with NaN last, then by unit."""
    return np.lexsort((units, *(np.where(np.isnan(key), np.inf, -key) for key in (scores, similarities))))


def _no_match(concept: str, labels: Sequence[str], similarities: NDArray[np.float64], threshold: float) -> str:
    """Return the message for a concept without units.

    Args:
        labels: label of each unit, the most similar first.
        similarities: similarity of each label, in the same order.
    """
    name = repr(one_line(concept))
    if not labels:
        return f"No unit has a label, so none matches {name}: label the units first."
    texts = list(dict.fromkeys(one_line(label[:_MOST_CHARACTERS]) for label in labels[:_MOST_LABELS]))
    texts = [text for text in texts if text]
    if not texts:
        return f"No unit matches {name}: the labels of the {len(labels)} units are empty. Label the units again."
    highest = f"{similarities[0]:.2f}" if np.isfinite(similarities[0]) else "none"
    if similarities[0] > 0:
        nearest = f"The nearest labels are {names_text(texts[:_MOST_LISTED])}."
    else:
        nearest = alternatives(one_line(concept), texts).replace("Available:", "Labels there are:")
    return (
        f"No unit's label is similar enough to {name}: the highest similarity is {highest}, and must exceed "
        f"{threshold:g}. {nearest} Use words of these labels, a lower threshold, or another text matcher."
    )
