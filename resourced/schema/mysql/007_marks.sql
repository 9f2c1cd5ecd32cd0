-- By the time of a mark, everything up to `event` had happened. `passed` is in milliseconds of a clock that only goes on while a
-- daemon serves the store, and that nobody can set; see resourced.retention.

CREATE TABLE IF NOT EXISTS event_mark (
    passed BIGINT NOT NULL,
    event  BIGINT NOT NULL,
    PRIMARY KEY (passed)
) ENGINE = InnoDB, DEFAULT CHARACTER SET = utf8mb4;
