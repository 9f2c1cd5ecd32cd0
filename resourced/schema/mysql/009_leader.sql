-- The row of `server` is the leader's own, and each of its commits changes it: `beat` grows with every one. Whoever takes over
-- has seen `epoch` and `beat` stand still; `state` is 'up' during a term and 'gone' when a daemon has stepped down, which
-- spares the next one that wait; `guard` names the server at which the leader's connection has its lock.

SET @missing = (
    SELECT COUNT(*) = 0 FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'server' AND column_name = 'beat');
SET @mend = IF(@missing, CONCAT(
    'ALTER TABLE server ADD COLUMN beat BIGINT NOT NULL DEFAULT 0, ',
    'ADD COLUMN state VARBINARY(16) NOT NULL DEFAULT ''gone'', ',
    'ADD COLUMN guard VARBINARY(2048) NOT NULL DEFAULT '''''), 'DO 0');
PREPARE mend FROM @mend;
EXECUTE mend;
DEALLOCATE PREPARE mend;
