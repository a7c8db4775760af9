-- The schema of one results store (a DuckDB file), version 7.
--
-- A new store is made from this file. An older one is brought here by the migrations in schema.py. Migrations only
-- ever ADD tables and columns, because readers show an older store as it is, with the missing columns NULL; a changed
-- meaning is a new column. There are no foreign keys: replacing a cell would trip over them, and every write of a
-- cell is one transaction that keeps its tables in step.
--
-- NULL means "not there" (not measured, not applicable); NaN means "measured, and undefined".

CREATE TABLE meta (
    schema_version  INTEGER NOT NULL,      -- version of this schema; one row in the table
    created_at      TIMESTAMPTZ NOT NULL,  -- when the store was made
    migrated_at     TIMESTAMPTZ,           -- when it last moved to a newer schema; NULL: never
    duckdb_version  VARCHAR NOT NULL       -- the DuckDB that made it
);

CREATE TABLE runs (
    run_id         VARCHAR PRIMARY KEY,   -- chosen by the caller, unique
    suite          VARCHAR,               -- suite name
    command        VARCHAR,               -- the command line as typed, without machine paths
    started_at     TIMESTAMPTZ NOT NULL,
    ended_at       TIMESTAMPTZ,           -- NULL while it runs, and for ever when it was killed
    status         VARCHAR NOT NULL CHECK (status IN ('running', 'finished', 'interrupted')),
    code_revision  VARCHAR,               -- revision of this program
    versions       JSON,                  -- {"torch": "2.9.0", ...}
    device         VARCHAR,               -- accelerator in words
    n_planned      INTEGER                -- cells the run set out to do, the already finished ones included
);

CREATE TABLE cells (
    cell_id                 VARCHAR PRIMARY KEY,  -- hash of `identity`
    run_id                  VARCHAR,      -- the run that produced it
    suite                   VARCHAR,      -- suite it was run for first
    status                  VARCHAR NOT NULL CHECK (status IN ('finished', 'failed')),
    backbone                VARCHAR NOT NULL,     -- registry name
    backbone_title          VARCHAR,      -- what people call it
    site                    VARCHAR NOT NULL,     -- module path of the linear map taken apart
    dataset                 VARCHAR,      -- data set name
    probing_fingerprint     VARCHAR,      -- the split methods are fitted on
    evaluation_fingerprint  VARCHAR,      -- the split they are measured on
    method                  VARCHAR NOT NULL,     -- registry name
    label                   VARCHAR NOT NULL,     -- what the leaderboard prints
    config                  JSON,         -- the method's configuration
    config_id               VARCHAR NOT NULL,     -- hash of method and config: seeds of one config_id are averaged
    token_seed              BIGINT,       -- which tokens were drawn
    init_seed               BIGINT,       -- how the method was initialised; NULL: it has no such seed
    identity                JSON,         -- the full canonical configuration that cell_id is a hash of
    started_at              TIMESTAMPTZ,
    seconds                 DOUBLE,       -- the whole cell
    fit_seconds             DOUBLE,       -- fitting alone
    device                  VARCHAR,
    dtype                   VARCHAR,
    d_in                    INTEGER,      -- width of the site's input q
    d_out                   INTEGER,      -- width of the site's output a
    n_units                 INTEGER,      -- units after disentangling
    claims                  JSON,         -- what the method says of itself, e.g. {"lossless": true}; never a measurement
    artifact                VARCHAR,      -- file name, relative to the store's folder
    error_type              VARCHAR,      -- of a failed cell: the exception's class name
    error_message           VARCHAR,
    traceback               VARCHAR,
    notes                   JSON,         -- list of sentences the reader must know
    fit_id                  VARCHAR,      -- hash of what the fitted method depends on (since version 3)
    environment             JSON          -- processor, threads, BLAS while the cell was computed (since version 4)
);

CREATE TABLE scores (
    cell_id                 VARCHAR NOT NULL,
    metric                  VARCHAR NOT NULL,     -- metric id, e.g. ms_score
    version                 INTEGER NOT NULL,     -- of the metric's definition
    params                  JSON NOT NULL,        -- of the metric, e.g. {"top_k": 100}
    params_hash             VARCHAR NOT NULL,     -- hash of params and panel
    value                   DOUBLE,       -- NaN: undefined (0/0)
    uncertainty             DOUBLE,       -- one standard error, in the unit of value
    uncertainty_kind        VARCHAR,      -- how it was estimated, e.g. "bootstrap over units"
    n                       BIGINT,       -- how many things the value is over
    unit                    VARCHAR,      -- "fraction", "ms", "MB", "" ...
    direction               VARCHAR NOT NULL CHECK (direction IN ('higher', 'lower', 'none')),  -- which is better
    evaluation_fingerprint  VARCHAR,      -- the set it was measured on; NULL: the cell's own
    panel                   VARCHAR,      -- judge panel id, of judged metrics
    seconds                 DOUBLE,       -- time the metric took
    details                 JSON,         -- evidence and circumstances; two scores may differ in it and be ranked together (since version 3)
    PRIMARY KEY (cell_id, metric, version, params_hash)
);

-- No key and no index: cells are written whole and in one piece, so DuckDB's per-block extrema of cell_id already
-- find one cell among millions of rows, and an index would only slow the insert.
CREATE TABLE units (
    cell_id         VARCHAR NOT NULL,
    unit            INTEGER NOT NULL,     -- index in the method's codes
    parent          INTEGER,              -- the original unit it is a part of; NULL: none
    alive           BOOLEAN,
    ms_score        DOUBLE,
    max_activation  DOUBLE,               -- over the whole evaluation split
    min_activation  DOUBLE,
    fires           BIGINT,               -- tokens on which it is active
    top_image       INTEGER[],            -- image indices, strongest first
    top_position    INTEGER[],            -- token position of the maximum in each of them
    top_value       FLOAT[],              -- activation there
    redundancy      DOUBLE,               -- largest Jaccard index of its top images with another unit's (since version 2)
    class_purity    DOUBLE,               -- share of its top images that have their commonest label (since version 3)
    polysemanticity DOUBLE,               -- null-calibrated polysemanticity index (since version 3)
    ms_score_null   DOUBLE,               -- MS score of random images on which it is active, each at its own token (since version 5)
    prefix_share    DOUBLE,               -- share of its top images whose maximum is at CLS or a register (since version 5)
    class_purity_chance DOUBLE,           -- purity of as many random images (since version 5)
    ms_score_token_null DOUBLE            -- MS score of random images of the split at the unit's kind of token (since version 5)
);

-- Pictures of some units: where they are active on their top images (since version 6). A run stores them within a fixed
-- size per cell (harness/cells/unit_maps.py), so not every unit has a row. No key and no index, as for units.
CREATE TABLE unit_maps (
    cell_id         VARCHAR NOT NULL,
    unit            INTEGER NOT NULL,     -- as units.unit
    side            INTEGER NOT NULL,     -- cells of each map along a side; 0: the layer's tokens have no grid
    maps            BLOB,                 -- deflated; a byte per cell, row by row, map after map in the order of units.top_image; 255 is max_activation
    peaks           INTEGER[]             -- images by the unit's maximum on them, in half octaves (powers of 2^0.5) below that of max_activation
);

-- Outcome of each evaluation image, for shares of images such as accuracy (since version 5): methods are measured on the
-- same images, so their differences are paired image by image. One bit per image, the first in the highest bit of byte 0.
CREATE TABLE outcomes (
    cell_id         VARCHAR NOT NULL,
    metric          VARCHAR NOT NULL,     -- as scores.metric
    n               INTEGER NOT NULL,     -- images of the evaluation split
    counted         BLOB NOT NULL,        -- 1 for an image that counts (it can be read and, for accuracy, has a label)
    positive        BLOB NOT NULL,        -- 1 for a counted image that is right, or unchanged
    PRIMARY KEY (cell_id, metric)
);

CREATE TABLE images (
    dataset     VARCHAR NOT NULL,         -- evaluation fingerprint
    "index"     INTEGER NOT NULL,         -- what units.top_image points at
    name        VARCHAR,                  -- file name within the data set
    label       INTEGER,
    class_name  VARCHAR,
    PRIMARY KEY (dataset, "index")
);

-- Judging (since version 2). A tournament is a set of cells judged together by one panel with one set of settings.
CREATE TABLE tournaments (
    tournament      VARCHAR PRIMARY KEY,  -- hash of panel, settings and cells
    panel           VARCHAR NOT NULL,     -- judge panel id: its kind, a colon, its judges
    judges          JSON NOT NULL,        -- list of judge ids, as in replies.judge
    prompt_version  VARCHAR NOT NULL,
    settings        JSON NOT NULL,        -- what must be equal for two panels' scores to be comparable
    judged_at       TIMESTAMPTZ NOT NULL, -- when it was scored last
    n_comparisons   BIGINT,               -- presentations (a pair of units in one order)
    n_ties          BIGINT,               -- presentations without a consensus: ties, and too few valid votes
    n_missing       BIGINT,               -- (judge, presentation) without any reply yet
    agreement       DOUBLE,               -- Krippendorff's alpha of the panel; NaN: undefined
    n_shared        BIGINT,               -- unit pairs of which two judges or more validly answered one presentation (since version 7)
    health          JSON,                 -- one object a judge
    pairwise        JSON,                 -- who beat whom: method, opponent (config ids), wins, n, ties
    notes           JSON                  -- list of sentences the reader must know
);

CREATE TABLE win_rates (
    tournament      VARCHAR NOT NULL,
    config_id       VARCHAR NOT NULL,     -- as cells.config_id
    label           VARCHAR NOT NULL,     -- as cells.label
    cell_ids        JSON NOT NULL,        -- the cells pooled, one a token seed
    win_rate        DOUBLE,               -- fraction; NaN: nothing was decided
    ci_low          DOUBLE,               -- 95 % interval for the judged units
    ci_high         DOUBLE,
    n               BIGINT,               -- comparisons decided
    wins            BIGINT,
    ties            BIGINT,               -- comparisons without a consensus, not in n
    rank            INTEGER,
    rank_low        INTEGER,              -- 95 % interval of the rank; since version 2 of the win rate, for new units
    rank_high       INTEGER,
    strength        DOUBLE,               -- Bradley-Terry, natural-log odds, mean 0
    new_low         DOUBLE,               -- 95 % interval for new units of each method; ci_low to ci_high is for the judged units (since version 5)
    new_high        DOUBLE,
    n_units         BIGINT,               -- distinct units that were judged; parts of one neuron are one (since version 5)
    PRIMARY KEY (tournament, config_id, label)
);

-- What was shown. No key and no index, as for units.
CREATE TABLE comparisons (
    tournament      VARCHAR NOT NULL,
    pair_id         VARCHAR NOT NULL,     -- the pair of units
    "order"         INTEGER NOT NULL,     -- 0 or 1: which of its two presentations
    cell_a          VARCHAR NOT NULL,     -- whose unit is grid A
    unit_a          INTEGER NOT NULL,
    grid_a          VARCHAR NOT NULL,     -- hash of what the grid shows
    cell_b          VARCHAR NOT NULL,     -- of a control: as cell_a
    unit_b          INTEGER NOT NULL,
    grid_b          VARCHAR NOT NULL
);

-- What judges said, kept for ever: a pair of grids shown in one order is never judged twice.
CREATE TABLE replies (
    judge               VARCHAR NOT NULL, -- judge id: kind, name, hash of its settings
    prompt_version      VARCHAR NOT NULL,
    grid_a              VARCHAR NOT NULL, -- as shown
    grid_b              VARCHAR NOT NULL, -- of a question about one picture: hash of the concept, or empty
    attempt             INTEGER NOT NULL, -- 1, then 2 and 3 where the ones before were invalid
    answer              VARCHAR,          -- 'A' or 'B'; a concept; 'yes' or 'no'; NULL: invalid
    reasoning_a         VARCHAR,
    reasoning_b         VARCHAR,
    problem             VARCHAR,          -- why it is invalid
    raw                 VARCHAR,          -- as it came; NULL: none came, and it is asked again
    finish_reason       VARCHAR,          -- what ended the reply, or kept it from coming
    prompt_tokens       BIGINT,
    completion_tokens   BIGINT,
    seconds             DOUBLE,
    replied_at          TIMESTAMPTZ,
    PRIMARY KEY (judge, prompt_version, grid_a, grid_b, attempt)
);

-- Concepts that judges gave to units, and how well they found them in other images (since version 7).
CREATE TABLE explanations (
    cell_id         VARCHAR NOT NULL,
    unit            INTEGER NOT NULL,     -- as units.unit
    judge           VARCHAR NOT NULL,     -- as replies.judge
    prompt_version  VARCHAR NOT NULL,     -- of both prompts, as "explain-1+detect-1"
    images          INTEGER NOT NULL,     -- most held-out images of each kind
    concept         VARCHAR,              -- NULL: no valid name
    n_positive      INTEGER,              -- valid answers on held-out top images of the unit
    n_negative      INTEGER,              -- valid answers on images outside of its top images
    true_positives  INTEGER,              -- "yes" among n_positive
    true_negatives  INTEGER,              -- "no" among n_negative
    balanced_accuracy DOUBLE,             -- NULL: too few valid answers on a side
    control         DOUBLE,               -- the same with the concept of another unit
    control_unit    INTEGER,              -- the other unit
    PRIMARY KEY (cell_id, unit, judge, prompt_version, images)
);

-- Which concepts a scorer names a cell's units by, and with which settings (since version 7).
CREATE TABLE labellings (
    cell_id         VARCHAR NOT NULL,
    labelling       VARCHAR NOT NULL,     -- hash of everything that the labels depend on beside the cell
    scorer          VARCHAR NOT NULL,     -- name of the scorer: classifier, clip, classes, ...
    version         INTEGER NOT NULL,     -- of the scorer
    settings        JSON NOT NULL,        -- images, concepts, network, top_k, ...
    n_units         BIGINT,               -- units with a label
    n_images        BIGINT,               -- images that could be read
    labelled_at     TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (cell_id, labelling)
);

-- Their labels (since version 7). No key and no index, as for units.
CREATE TABLE unit_labels (
    cell_id         VARCHAR NOT NULL,
    labelling       VARCHAR NOT NULL,     -- as labellings.labelling
    unit            INTEGER NOT NULL,     -- as units.unit
    rank            INTEGER NOT NULL,     -- 1: the best label
    label           VARCHAR NOT NULL,     -- concept
    score           DOUBLE,               -- of the scorer; larger is better
    null_score      DOUBLE,               -- 95 % quantile of the best score of a unit whose images are permuted
    p_value         DOUBLE                -- share of permutations whose best score is at least the score
);

-- Effects of steering that were kept (since version 7).
CREATE TABLE steerings (
    cell_id         VARCHAR NOT NULL,
    steering        VARCHAR NOT NULL,     -- hash of the settings
    kind            VARCHAR NOT NULL,     -- classes or captions
    settings        JSON NOT NULL,        -- concepts, units, factors, patches, images
    result          JSON NOT NULL,        -- per image: classes or captions before and after
    steered_at      TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (cell_id, steering)
);

-- How a fit went (since version 3). No key and no index, as for units.
CREATE TABLE curves (
    cell_id         VARCHAR NOT NULL,
    series          VARCHAR NOT NULL,     -- "loss", "r2", "l0", ...
    step            BIGINT NOT NULL,      -- optimiser step
    value           DOUBLE
);

-- Scores of several cells together (since version 3): stability over seeds is no property of one cell.
CREATE TABLE group_scores (
    group_id        VARCHAR NOT NULL,     -- hash of the cells and of what varies among them
    config_id       VARCHAR NOT NULL,     -- as cells.config_id
    label           VARCHAR NOT NULL,     -- as cells.label
    cell_ids        JSON NOT NULL,        -- the cells compared
    metric          VARCHAR NOT NULL,
    version         INTEGER NOT NULL,
    params          JSON NOT NULL,        -- rows that differ in them are never ranked together
    value           DOUBLE,               -- NaN: undefined
    uncertainty     DOUBLE,               -- in the unit of value
    uncertainty_kind VARCHAR,             -- e.g. "std over pairs"
    n               BIGINT,               -- how many pairs of cells
    unit            VARCHAR,
    direction       VARCHAR NOT NULL CHECK (direction IN ('higher', 'lower', 'none')),
    details         JSON,                 -- evidence: value of each pair, dead atoms left out, ...
    measured_at     TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (group_id, metric, version)
);
