-- The one row of `server` names the leader: each commit checks `epoch` and `owner` in it, and locks it by that.
-- `fence` is the highest that was ever given out.

CREATE TABLE IF NOT EXISTS server (
    id    TINYINT        NOT NULL,
    epoch BIGINT         NOT NULL,
    owner VARBINARY(255) NOT NULL,
    fence BIGINT         NOT NULL,
    PRIMARY KEY (id)
) ENGINE = InnoDB, DEFAULT CHARACTER SET = utf8mb4;

INSERT IGNORE INTO server (id, epoch, owner, fence) VALUES (1, 0, '', 0);

-- Each row is one ticket's place at one selector; see resourced.model.Place.

CREATE TABLE IF NOT EXISTS place (
    seq      BIGINT          NOT NULL,
    resource VARBINARY(1020) NOT NULL,
    selector VARBINARY(1020) NOT NULL,
    ticket   VARBINARY(255)  NOT NULL,
    standing TINYINT         NOT NULL,
    fence    BIGINT          NOT NULL,
    owner    VARBINARY(1020) NOT NULL,
    idempotency_key VARBINARY(255)  NOT NULL,
    PRIMARY KEY (seq)
) ENGINE = InnoDB, ROW_FORMAT = DYNAMIC, DEFAULT CHARACTER SET = utf8mb4;
