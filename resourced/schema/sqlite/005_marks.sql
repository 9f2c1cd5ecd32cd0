-- By the time of a mark, everything up to `event` had happened. `passed` is in milliseconds of a clock that only goes on while a
-- daemon serves the store, and that nobody can set; see resourced.retention.

CREATE TABLE event_mark (
    passed INTEGER NOT NULL PRIMARY KEY,
    event  INTEGER NOT NULL
);
