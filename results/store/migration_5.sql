-- From version 5 to 6. Released: it never changes, whatever becomes of schema.sql.

CREATE TABLE unit_maps (
    cell_id         VARCHAR NOT NULL,
    unit            INTEGER NOT NULL,
    side            INTEGER NOT NULL,
    maps            BLOB,
    peaks           INTEGER[]
);
