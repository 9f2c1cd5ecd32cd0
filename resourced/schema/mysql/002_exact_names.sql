-- Names become exact: bytes of UTF-8 that no collation compares. 'A4', 'a4', 'A4 ' and 'Á4' are four names.
--
-- Every statement may run again, after it has been done or after one that follows it has failed.
-- A column in another character set than UTF-8 is converted to utf8mb4 first, so that the bytes that are kept are
-- those of its characters; in a collation that tells everything apart, so that no unique key is offended on the way.

SET @exact = COALESCE((
    SELECT MIN(collation_name) FROM information_schema.collations
    WHERE collation_name IN ('utf8mb4_nopad_bin', 'utf8mb4_0900_bin')), 'utf8mb4_bin');

SET @widen = (
    SELECT IF(character_set_name IN ('utf8mb4', 'utf8mb3', 'utf8', 'ascii'), 'DO 0', CONCAT(
        'ALTER TABLE resource ENGINE = InnoDB, ROW_FORMAT = DYNAMIC, ',
        'MODIFY name VARCHAR(255) CHARACTER SET utf8mb4 COLLATE ', @exact, ' NOT NULL'))
    FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'resource' AND column_name = 'name'
        AND character_set_name IS NOT NULL);
SET @widen = COALESCE(@widen, 'DO 0');
PREPARE widen FROM @widen;
EXECUTE widen;
DEALLOCATE PREPARE widen;

SET @widen = (
    SELECT IF(character_set_name IN ('utf8mb4', 'utf8mb3', 'utf8', 'ascii'), 'DO 0', CONCAT(
        'ALTER TABLE resource_data ENGINE = InnoDB, ROW_FORMAT = DYNAMIC, ',
        'MODIFY selector VARCHAR(255) CHARACTER SET utf8mb4 COLLATE ', @exact, ' NOT NULL'))
    FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'resource_data' AND column_name = 'selector'
        AND character_set_name IS NOT NULL);
SET @widen = COALESCE(@widen, 'DO 0');
PREPARE widen FROM @widen;
EXECUTE widen;
DEALLOCATE PREPARE widen;

ALTER TABLE resource ENGINE = InnoDB, ROW_FORMAT = DYNAMIC, MODIFY name VARBINARY(1020) NOT NULL;

-- The data may be NULL in an old table, which means that there is none: so it may stay.
ALTER TABLE resource_data ENGINE = InnoDB, ROW_FORMAT = DYNAMIC,
    MODIFY selector VARBINARY(1020) NOT NULL,
    MODIFY data LONGTEXT CHARACTER SET utf8mb4 NULL;

-- Nobody reads or writes this column any more, but a new row has to have a value for it.
ALTER TABLE resource_data ALTER COLUMN locked SET DEFAULT 0;

-- The two unique keys, should an old table have lost them.
SET @lost = (
    SELECT COUNT(*) = 0 FROM (
        SELECT index_name FROM information_schema.statistics
        WHERE table_schema = DATABASE() AND table_name = 'resource' AND non_unique = 0
        GROUP BY index_name
        HAVING GROUP_CONCAT(column_name ORDER BY seq_in_index) = 'name' AND COUNT(sub_part) = 0) AS keys_of_names);
SET @mend = IF(@lost, 'ALTER TABLE resource ADD UNIQUE KEY resource_name (name)', 'DO 0');
PREPARE mend FROM @mend;
EXECUTE mend;
DEALLOCATE PREPARE mend;

SET @lost = (
    SELECT COUNT(*) = 0 FROM (
        SELECT index_name FROM information_schema.statistics
        WHERE table_schema = DATABASE() AND table_name = 'resource_data' AND non_unique = 0
        GROUP BY index_name
        HAVING GROUP_CONCAT(column_name ORDER BY seq_in_index) IN ('id_resource,selector', 'selector,id_resource')
            AND COUNT(sub_part) = 0) AS keys_of_selectors);
SET @mend = IF(@lost, 'ALTER TABLE resource_data ADD UNIQUE KEY resource_data_selector (id_resource, selector)', 'DO 0');
PREPARE mend FROM @mend;
EXECUTE mend;
DEALLOCATE PREPARE mend;
