-- `resource_group` is the group of a resource; empty means its own name. `longest` is the longest lease that a request may ask for, in
-- seconds; 0 means the timeout. `slots` is how many units the server makes of it; 0 means none.

SET @missing = (
    SELECT COUNT(*) = 0 FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'resource' AND column_name = 'resource_group');
SET @mend = IF(@missing, CONCAT(
    'ALTER TABLE resource ADD COLUMN resource_group VARBINARY(1020) NOT NULL DEFAULT '''', ',
    'ADD COLUMN longest INT NOT NULL DEFAULT 0, ',
    'ADD COLUMN slots INT NOT NULL DEFAULT 0'), 'DO 0');
PREPARE mend FROM @mend;
EXECUTE mend;
DEALLOCATE PREPARE mend;

-- `lease` is that of this grant, in seconds; 0 means that of the resource. `joint` is the joint request that a place belongs to, by `seq`,
-- and `want` which of its wants it meets, from 0 on; a place that was asked for by name has joint 0.

SET @missing = (
    SELECT COUNT(*) = 0 FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = 'place' AND column_name = 'joint');
SET @mend = IF(@missing, CONCAT(
    'ALTER TABLE place ADD COLUMN lease INT NOT NULL DEFAULT 0, ',
    'ADD COLUMN priority SMALLINT NOT NULL DEFAULT 0, ',
    'ADD COLUMN joint BIGINT NOT NULL DEFAULT 0, ',
    'ADD COLUMN want SMALLINT NOT NULL DEFAULT 0'), 'DO 0');
PREPARE mend FROM @mend;
EXECUTE mend;
DEALLOCATE PREPARE mend;

-- Each row is a request for several things at once; see resourced.wants.JointRequest.

CREATE TABLE IF NOT EXISTS joint_request (
    seq      BIGINT          NOT NULL,
    ticket   VARBINARY(255)  NOT NULL,
    wants    MEDIUMBLOB      NOT NULL,
    yields   TINYINT         NOT NULL,
    priority SMALLINT        NOT NULL,
    lease    INT             NOT NULL,
    owner    VARBINARY(1020) NOT NULL,
    key_name VARBINARY(1020) NOT NULL,
    idempotency_key VARBINARY(255) NOT NULL,
    since    BIGINT          NOT NULL,
    granted  TINYINT         NOT NULL,
    PRIMARY KEY (seq)
) ENGINE = InnoDB, ROW_FORMAT = DYNAMIC, DEFAULT CHARACTER SET = utf8mb4;

-- Each row makes a selector a unit of its resource's pool; see resourced.wants.Card. `tags` are parted by spaces. `out_reason` is NULL while
-- the unit is in service.

CREATE TABLE IF NOT EXISTS card (
    resource   VARBINARY(1020) NOT NULL,
    selector   VARBINARY(1020) NOT NULL,
    tags       BLOB            NOT NULL,
    note       BLOB            NOT NULL,
    out_reason BLOB            NULL,
    out_since  BIGINT          NOT NULL,
    PRIMARY KEY (resource, selector)
) ENGINE = InnoDB, ROW_FORMAT = DYNAMIC, DEFAULT CHARACTER SET = utf8mb4;
