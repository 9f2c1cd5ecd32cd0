-- Data is kept in the order of resources and selectors, by which all of it is asked for. A write has one row to look for and one index to
-- change. With `id` as the primary key it first put a new row in, and took that out again when the other key was taken. Nobody asks for `id`.

SET @named = (
    SELECT COUNT(*) > 0 FROM information_schema.statistics
    WHERE table_schema = DATABASE() AND table_name = 'resource_data' AND index_name = 'resource_data_selector');
SET @primary = (
    SELECT COUNT(*) > 0 FROM information_schema.statistics
    WHERE table_schema = DATABASE() AND table_name = 'resource_data' AND index_name = 'PRIMARY');
SET @mend = IF(@named, CONCAT(
    'ALTER TABLE resource_data ', IF(@primary, 'DROP PRIMARY KEY, ', ''),
    'ADD PRIMARY KEY (id_resource, selector), DROP INDEX resource_data_selector'), 'DO 0');
PREPARE mend FROM @mend;
EXECUTE mend;
DEALLOCATE PREPARE mend;
