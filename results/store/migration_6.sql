-- From version 6 to 7. Released: it never changes, whatever becomes of schema.sql.

CREATE TABLE explanations (
    cell_id         VARCHAR NOT NULL,
    unit            INTEGER NOT NULL,
    judge           VARCHAR NOT NULL,
    prompt_version  VARCHAR NOT NULL,
    images          INTEGER NOT NULL,
    concept         VARCHAR,
    n_positive      INTEGER,
    n_negative      INTEGER,
    true_positives  INTEGER,
    true_negatives  INTEGER,
    balanced_accuracy DOUBLE,
    control         DOUBLE,
    control_unit    INTEGER,
    PRIMARY KEY (cell_id, unit, judge, prompt_version, images)
);

ALTER TABLE tournaments ADD COLUMN n_shared BIGINT;
