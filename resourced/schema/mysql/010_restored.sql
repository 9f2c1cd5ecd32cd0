-- `restored` is the word of the last RESOURCED_RESTORED for which all places were ended; see resourced.restoration.

SET @missing = (
    SELECT COUNT(*) = 0 FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'server' AND column_name = 'restored');
SET @mend = IF(@missing, 'ALTER TABLE server ADD COLUMN restored VARBINARY(255) NOT NULL DEFAULT ''''', 'DO 0');
PREPARE mend FROM @mend;
EXECUTE mend;
DEALLOCATE PREPARE mend;
