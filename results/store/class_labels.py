"""Label of a unit: the commonest class among its top images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from results.store.store import Store

#: Top images of a unit that pages show, label and search.
TOP = 9


def labelled(store: Store, cell_id: str, units: Sequence[int]) -> pd.DataFrame:
    """Return unit, MS scores and the commonest class among the `TOP` top images on which a unit is active.

    Columns: unit, ms_score, ms_score_token_null, class_name, n (images of this class), n_active (images on which the
    unit is active). Of equally common classes the one of the strongest image is taken. Without classes, class_name is
    missing.
    """
    sql = """
        WITH tops AS (
            SELECT unit, unnest(top_image[:$3]) AS image, unnest(top_value[:$3]) AS value,
            generate_subscripts(top_image[:$3], 1) AS rank
            FROM units WHERE cell_id = $1 AND unit IN (SELECT unnest($2::INTEGER[]))
        ), counted AS (
            SELECT unit, class_name, count(*) AS n, min(rank) AS best FROM tops LEFT JOIN images ON "index" = image
            AND dataset = (SELECT evaluation_fingerprint FROM cells WHERE cell_id = $1)
            WHERE value > 0 GROUP BY unit, class_name
        ), summed AS (
            SELECT *, sum(n) OVER (PARTITION BY unit) AS n_active FROM counted
        ), commonest AS (
            SELECT * FROM summed WHERE class_name <> ''
            QUALIFY row_number() OVER (PARTITION BY unit ORDER BY n DESC, best) = 1
        )
        SELECT unit, ms_score, ms_score_token_null, class_name, n::INTEGER AS n, n_active::INTEGER AS n_active FROM (
            SELECT unit, first(ms_score) AS ms_score, first(ms_score_token_null) AS ms_score_token_null
            FROM units WHERE cell_id = $1 AND unit IN (SELECT unnest($2::INTEGER[])) GROUP BY unit
        ) LEFT JOIN commonest USING (unit) ORDER BY unit
    """
    return store.query(sql, [cell_id, [int(unit) for unit in units], TOP])
