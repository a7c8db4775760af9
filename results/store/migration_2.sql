-- From version 2 to 3. Released: it never changes, whatever becomes of schema.sql.

ALTER TABLE cells ADD COLUMN fit_id VARCHAR;
ALTER TABLE scores ADD COLUMN details JSON;
ALTER TABLE units ADD COLUMN class_purity DOUBLE;
ALTER TABLE units ADD COLUMN polysemanticity DOUBLE;

CREATE TABLE curves (
    cell_id         VARCHAR NOT NULL,
    series          VARCHAR NOT NULL,
    step            BIGINT NOT NULL,
    value           DOUBLE
);

CREATE TABLE group_scores (
    group_id        VARCHAR NOT NULL,
    config_id       VARCHAR NOT NULL,
    label           VARCHAR NOT NULL,
    cell_ids        JSON NOT NULL,
    metric          VARCHAR NOT NULL,
    version         INTEGER NOT NULL,
    params          JSON NOT NULL,
    value           DOUBLE,
    uncertainty     DOUBLE,
    uncertainty_kind VARCHAR,
    n               BIGINT,
    unit            VARCHAR,
    direction       VARCHAR NOT NULL CHECK (direction IN ('higher', 'lower', 'none')),
    details         JSON,
    measured_at     TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (group_id, metric, version)
);
