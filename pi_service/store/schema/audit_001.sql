-- audit.db, version 1: one chained table; everything else (which switch is pending, the next counter of a house,
-- standing tags) is asked from it, so that the chain covers it. `ref` is the id of what the row is about,
-- `body` its JSON as hashed, `salvaged` the row's number in a damaged file that it was saved from (0: none).

CREATE TABLE audit (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, ref TEXT NOT NULL, house TEXT NOT NULL,
    body TEXT NOT NULL, salvaged INTEGER NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL
) STRICT;
CREATE INDEX audit_ref ON audit (kind, ref, at);
CREATE INDEX audit_house ON audit (house, kind);
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_undo ON audit (json_extract(body, '$.view.undo_of'), ref)
    WHERE kind = 'switch' AND json_extract(body, '$.view.undo_of') IS NOT NULL;

CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_in_order BEFORE INSERT ON audit
WHEN NEW.id IS NOT (SELECT COALESCE(MAX(id), 0) + 1 FROM audit)
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
