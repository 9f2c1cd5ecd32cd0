-- What was used, by whole days of Unix time: of a selector if `used_by` is 0, of an owner if it is 1. An empty name stands for all that
-- were too many to be counted one by one. `held` and `waited` are seconds; `wait_0` to `wait_11` count waits by their lengths, see resourced.usage.

CREATE TABLE IF NOT EXISTS usage_day (
    resource VARBINARY(1020) NOT NULL,
    day      INT             NOT NULL,
    used_by  TINYINT         NOT NULL,
    name     VARBINARY(1020) NOT NULL,
    grants   BIGINT          NOT NULL,
    held     DOUBLE          NOT NULL,
    expiries BIGINT          NOT NULL,
    breaks   BIGINT          NOT NULL,
    waited   DOUBLE          NOT NULL,
    wait_0 BIGINT NOT NULL,
    wait_1 BIGINT NOT NULL,
    wait_2 BIGINT NOT NULL,
    wait_3 BIGINT NOT NULL,
    wait_4 BIGINT NOT NULL,
    wait_5 BIGINT NOT NULL,
    wait_6 BIGINT NOT NULL,
    wait_7 BIGINT NOT NULL,
    wait_8 BIGINT NOT NULL,
    wait_9 BIGINT NOT NULL,
    wait_10 BIGINT NOT NULL,
    wait_11 BIGINT NOT NULL,
    PRIMARY KEY (resource, day, used_by, name)
) ENGINE = InnoDB, ROW_FORMAT = DYNAMIC, DEFAULT CHARACTER SET = utf8mb4;

-- Up to which event, by its id, all are counted in `usage_day`.

CREATE TABLE IF NOT EXISTS usage_mark (
    id    INT    NOT NULL,
    event BIGINT NOT NULL,
    PRIMARY KEY (id)
) ENGINE = InnoDB, ROW_FORMAT = DYNAMIC, DEFAULT CHARACTER SET = utf8mb4;

INSERT IGNORE INTO usage_mark (id, event) VALUES (1, 0);
