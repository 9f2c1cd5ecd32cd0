-- The one row of `server` names the leader; each commit checks `epoch` and `owner` in it.
-- `fence` is the highest that was ever given out.

CREATE TABLE server (
    id    INTEGER NOT NULL PRIMARY KEY,
    epoch INTEGER NOT NULL,
    owner TEXT    NOT NULL,
    fence INTEGER NOT NULL
);

INSERT INTO server (id, epoch, owner, fence) VALUES (1, 0, '', 0);

-- Each row is one ticket's place at one selector; see resourced.model.Place.

CREATE TABLE place (
    seq      INTEGER NOT NULL PRIMARY KEY,
    resource TEXT    NOT NULL,
    selector TEXT    NOT NULL,
    ticket   TEXT    NOT NULL,
    standing INTEGER NOT NULL,
    fence    INTEGER NOT NULL,
    owner    TEXT    NOT NULL,
    idempotency_key TEXT    NOT NULL
);
