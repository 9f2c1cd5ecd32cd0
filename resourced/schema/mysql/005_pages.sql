-- The way along which selectors are listed, under a name by which a statement can insist on it: left to itself, MariaDB
-- begins at the first selector of the resource whenever it guesses that there is much to read in any case.

SET @named = (
    SELECT COUNT(*) > 0 FROM information_schema.statistics
    WHERE table_schema = DATABASE() AND table_name = 'resource_data' AND index_name = 'resource_data_selector');
SET @unnamed = (
    SELECT MIN(index_name) FROM (
        SELECT index_name FROM information_schema.statistics
        WHERE table_schema = DATABASE() AND table_name = 'resource_data'
        GROUP BY index_name
        HAVING GROUP_CONCAT(column_name ORDER BY seq_in_index) = 'id_resource,selector' AND COUNT(sub_part) = 0)
        AS ways);
SET @mend = IF(@named, 'DO 0', CONCAT(
    'ALTER TABLE resource_data ',
    COALESCE(CONCAT('DROP INDEX `', REPLACE(@unnamed, '`', '``'), '`, '), ''),
    'ADD UNIQUE INDEX resource_data_selector (id_resource, selector)'));
PREPARE mend FROM @mend;
EXECUTE mend;
DEALLOCATE PREPARE mend;
