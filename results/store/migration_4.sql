-- From version 4 to 5. Released: it never changes, whatever becomes of schema.sql.

ALTER TABLE units ADD COLUMN ms_score_null DOUBLE;
ALTER TABLE units ADD COLUMN prefix_share DOUBLE;
ALTER TABLE units ADD COLUMN class_purity_chance DOUBLE;
ALTER TABLE units ADD COLUMN ms_score_token_null DOUBLE;

ALTER TABLE win_rates ADD COLUMN new_low DOUBLE;
ALTER TABLE win_rates ADD COLUMN new_high DOUBLE;
ALTER TABLE win_rates ADD COLUMN n_units BIGINT;

CREATE TABLE outcomes (
    cell_id         VARCHAR NOT NULL,
    metric          VARCHAR NOT NULL,
    n               INTEGER NOT NULL,
    counted         BLOB NOT NULL,
    positive        BLOB NOT NULL,
    PRIMARY KEY (cell_id, metric)
);
