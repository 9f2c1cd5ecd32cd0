-- `key_name` is who a ticket was given to, and `since` when it began to stand as it does, in milliseconds of Unix time.

ALTER TABLE place ADD COLUMN key_name TEXT NOT NULL DEFAULT 'default';
ALTER TABLE place ADD COLUMN since INTEGER NOT NULL DEFAULT 0;

-- `version` is the id of the event that wrote the data; 0 is older than any.

ALTER TABLE resource_data ADD COLUMN version INTEGER NOT NULL DEFAULT 0;

-- `event` is the highest id that was ever given to an event.

ALTER TABLE server ADD COLUMN event INTEGER NOT NULL DEFAULT 0;

-- What has happened to locks and data; see resourced.model.Event.

CREATE TABLE event (
    id       INTEGER NOT NULL PRIMARY KEY,
    at       INTEGER NOT NULL,
    kind     INTEGER NOT NULL,
    resource TEXT    NOT NULL,
    selector TEXT    NOT NULL,
    owner    TEXT    NOT NULL,
    fence    INTEGER NOT NULL,
    seconds  REAL    NOT NULL
);

CREATE INDEX event_of_lock ON event (resource, selector, id);
