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

CREATE TABLE labellings (
    cell_id         VARCHAR NOT NULL,
    labelling       VARCHAR NOT NULL,
    scorer          VARCHAR NOT NULL,
    version         INTEGER NOT NULL,
    settings        JSON NOT NULL,
    n_units         BIGINT,
    n_images        BIGINT,
    labelled_at     TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (cell_id, labelling)
);

CREATE TABLE unit_labels (
    cell_id         VARCHAR NOT NULL,
    labelling       VARCHAR NOT NULL,
    unit            INTEGER NOT NULL,
    rank            INTEGER NOT NULL,
    label           VARCHAR NOT NULL,
    score           DOUBLE,
    null_score      DOUBLE,
    p_value         DOUBLE
);

CREATE TABLE steerings (
    cell_id         VARCHAR NOT NULL,
    steering        VARCHAR NOT NULL,
    kind            VARCHAR NOT NULL,
    settings        JSON NOT NULL,
    result          JSON NOT NULL,
    steered_at      TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (cell_id, steering)
);

ALTER TABLE tournaments ADD COLUMN n_shared BIGINT;
