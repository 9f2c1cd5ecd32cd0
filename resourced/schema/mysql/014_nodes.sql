-- Row 1 of `server` belongs to a daemon that serves the store by itself. Each higher one is a node of a cluster: `url` is where the others
-- reach it, and `wants` whether it wants partitions.

SET @missing = (
    SELECT COUNT(*) = 0 FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'server' AND column_name = 'wants');
SET @mend = IF(@missing, CONCAT(
    'ALTER TABLE server MODIFY id SMALLINT NOT NULL, ',
    'ADD COLUMN url VARBINARY(2048) NOT NULL DEFAULT '''', ',
    'ADD COLUMN wants TINYINT NOT NULL DEFAULT 1'), 'DO 0');
PREPARE mend FROM @mend;
EXECUTE mend;
DEALLOCATE PREPARE mend;

-- Who owns a partition: a node in one of its terms, and nobody once that term is over. The term 0 is nobody's: then `node` is whom the last
-- owner has left it to.

CREATE TABLE IF NOT EXISTS partition_owner (
    number SMALLINT NOT NULL,
    node   SMALLINT NOT NULL,
    term   BIGINT   NOT NULL,
    PRIMARY KEY (number)
) ENGINE = InnoDB, DEFAULT CHARACTER SET = utf8mb4;

INSERT IGNORE INTO partition_owner (number, node, term)
    SELECT 16 * high.digit + low.digit, 0, 0 FROM
        (SELECT 0 AS digit UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 UNION SELECT 7
            UNION SELECT 8 UNION SELECT 9 UNION SELECT 10 UNION SELECT 11 UNION SELECT 12 UNION SELECT 13 UNION SELECT 14
            UNION SELECT 15) AS high,
        (SELECT 0 AS digit UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 UNION SELECT 7
            UNION SELECT 8 UNION SELECT 9 UNION SELECT 10 UNION SELECT 11 UNION SELECT 12 UNION SELECT 13 UNION SELECT 14
            UNION SELECT 15) AS low;
