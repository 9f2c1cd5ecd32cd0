-- What was used, by whole days of Unix time: of a selector if `used_by` is 0, of an owner if it is 1. An empty name stands for all that
-- were too many to be counted one by one. `held` and `waited` are seconds; `wait_0` to `wait_11` count waits by their lengths, see resourced.usage.

CREATE TABLE usage_day (
    resource TEXT NOT NULL,
    day INTEGER NOT NULL,
    used_by INTEGER NOT NULL,
    name TEXT NOT NULL,
    grants INTEGER NOT NULL,
    held     REAL NOT NULL,
    expiries INTEGER NOT NULL,
    breaks INTEGER NOT NULL,
    waited   REAL NOT NULL,
    wait_0 INTEGER NOT NULL,
    wait_1 INTEGER NOT NULL,
    wait_2 INTEGER NOT NULL,
    wait_3 INTEGER NOT NULL,
    wait_4 INTEGER NOT NULL,
    wait_5 INTEGER NOT NULL,
    wait_6 INTEGER NOT NULL,
    wait_7 INTEGER NOT NULL,
    wait_8 INTEGER NOT NULL,
    wait_9 INTEGER NOT NULL,
    wait_10 INTEGER NOT NULL,
    wait_11 INTEGER NOT NULL,
    PRIMARY KEY (resource, day, used_by, name)
);

-- Up to which event, by its id, all are counted in `usage_day`.

CREATE TABLE usage_mark (
    id INTEGER NOT NULL,
    event INTEGER NOT NULL,
    PRIMARY KEY (id)
);

INSERT INTO usage_mark (id, event) VALUES (1, 0);
