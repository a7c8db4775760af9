-- From version 3 to 4. Released: it never changes, whatever becomes of schema.sql.

ALTER TABLE cells ADD COLUMN environment JSON;
