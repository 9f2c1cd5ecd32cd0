-- `key_name` is the key that acted; of a break, `broken_by` is who did it, and `reason` why.

SET @missing = (
    SELECT COUNT(*) = 0 FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'event' AND column_name = 'key_name');
SET @mend = IF(@missing, CONCAT(
    'ALTER TABLE event ADD COLUMN key_name VARBINARY(1020) NOT NULL DEFAULT '''', ',
    'ADD COLUMN broken_by VARBINARY(1020) NOT NULL DEFAULT '''', ',
    'ADD COLUMN reason VARBINARY(1020) NOT NULL DEFAULT '''''), 'DO 0');
PREPARE mend FROM @mend;
EXECUTE mend;
DEALLOCATE PREPARE mend;
