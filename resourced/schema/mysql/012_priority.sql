-- `priority` is that with which the ticket of the event has waited, -9 to 9.

SET @missing = (
    SELECT COUNT(*) = 0 FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'event' AND column_name = 'priority');
SET @mend = IF(@missing, 'ALTER TABLE event ADD COLUMN priority SMALLINT NOT NULL DEFAULT 0', 'DO 0');
PREPARE mend FROM @mend;
EXECUTE mend;
DEALLOCATE PREPARE mend;
