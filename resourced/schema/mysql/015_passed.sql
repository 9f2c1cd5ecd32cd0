-- `passed` is what the clock of marks showed when a daemon last sent a heartbeat, in milliseconds; see resourced.service.retention.

SET @missing = (
    SELECT COUNT(*) = 0 FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'server' AND column_name = 'passed');
SET @mend = IF(@missing, 'ALTER TABLE server ADD COLUMN passed BIGINT NOT NULL DEFAULT 0', 'DO 0');
PREPARE mend FROM @mend;
EXECUTE mend;
DEALLOCATE PREPARE mend;
