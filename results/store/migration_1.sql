-- From version 1 to 2. Released: it never changes, whatever becomes of schema.sql.

-- Judging (since version 2). A tournament is a set of cells judged together by one panel with one set of settings.
CREATE TABLE tournaments (
    tournament      VARCHAR PRIMARY KEY,  -- hash of panel, settings and cells
    panel           VARCHAR NOT NULL,     -- judge panel id: its kind, a colon, its judges
    judges          JSON NOT NULL,        -- list of judge ids, as in replies.judge
    prompt_version  VARCHAR NOT NULL,
    settings        JSON NOT NULL,        -- what must be equal for two panels' scores to be comparable
    judged_at       TIMESTAMPTZ NOT NULL, -- when it was scored last
    n_comparisons   BIGINT,               -- presentations (a pair of units in one order)
    n_ties          BIGINT,               -- presentations without a majority
    n_missing       BIGINT,               -- (judge, presentation) without any reply yet
    agreement       DOUBLE,               -- Krippendorff's alpha of the panel; NaN: undefined
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
    ci_low          DOUBLE,               -- 95 % interval
    ci_high         DOUBLE,
    n               BIGINT,               -- comparisons decided
    wins            BIGINT,
    ties            BIGINT,               -- comparisons without a majority, not in n
    rank            INTEGER,
    rank_low        INTEGER,              -- 95 % interval of the rank
    rank_high       INTEGER,
    strength        DOUBLE,               -- Bradley-Terry, natural-log odds, mean 0
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
    grid_b              VARCHAR NOT NULL,
    attempt             INTEGER NOT NULL, -- 1, then 2 and 3 where the ones before were invalid
    answer              VARCHAR,          -- 'A', 'B', or NULL: invalid
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

ALTER TABLE units ADD COLUMN redundancy DOUBLE;
