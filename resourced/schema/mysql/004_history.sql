-- `key_name` is who a ticket was given to, and `since` when it began to stand as it does, in milliseconds of Unix time.
-- MySQL cannot be told to add a column only if it is missing.

SET @missing = (
    SELECT COUNT(*) = 0 FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'place' AND column_name = 'since');
SET @mend = IF(@missing, CONCAT(
    'ALTER TABLE place ADD COLUMN key_name VARBINARY(1020) NOT NULL DEFAULT ''default'', ',
    'ADD COLUMN since BIGINT NOT NULL DEFAULT 0'), 'DO 0');
PREPARE mend FROM @mend;
EXECUTE mend;
DEALLOCATE PREPARE mend;

-- `version` is the id of the event that wrote the data; 0 is older than any.

SET @missing = (
    SELECT COUNT(*) = 0 FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'resource_data' AND column_name = 'version');
SET @mend = IF(@missing, 'ALTER TABLE resource_data ADD COLUMN version BIGINT NOT NULL DEFAULT 0', 'DO 0');
PREPARE mend FROM @mend;
EXECUTE mend;
DEALLOCATE PREPARE mend;

-- `event` is the highest id that was ever given to an event.

SET @missing = (
    SELECT COUNT(*) = 0 FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'server' AND column_name = 'event');
SET @mend = IF(@missing, 'ALTER TABLE server ADD COLUMN event BIGINT NOT NULL DEFAULT 0', 'DO 0');
PREPARE mend FROM @mend;
EXECUTE mend;
DEALLOCATE PREPARE mend;

-- What has happened to locks and data; see resourced.model.Event.

CREATE TABLE IF NOT EXISTS event (
    id       BIGINT          NOT NULL,
    at       BIGINT          NOT NULL,
    kind     TINYINT         NOT NULL,
    resource VARBINARY(1020) NOT NULL,
    selector VARBINARY(1020) NOT NULL,
    owner    VARBINARY(1020) NOT NULL,
    fence    BIGINT          NOT NULL,
    seconds  DOUBLE          NOT NULL,
    PRIMARY KEY (id),
    KEY event_of_lock (resource, selector, id)
) ENGINE = InnoDB, ROW_FORMAT = DYNAMIC, DEFAULT CHARACTER SET = utf8mb4;
