-- Each row is what a ticket lost at a selector; see resourced.model.Loss. `event` is the id of the event that tells of it.

CREATE TABLE IF NOT EXISTS loss (
    event    BIGINT          NOT NULL,
    resource VARBINARY(1020) NOT NULL,
    selector VARBINARY(1020) NOT NULL,
    ticket   VARBINARY(255)  NOT NULL,
    key_name    VARBINARY(1020) NOT NULL,
    PRIMARY KEY (event)
) ENGINE = InnoDB, ROW_FORMAT = DYNAMIC, DEFAULT CHARACTER SET = utf8mb4;

-- A place with the standing 3 was one that a ticket had lost while it lived elsewhere. No event has an id below 1.

INSERT IGNORE INTO loss (event, resource, selector, ticket, key_name)
    SELECT -seq, resource, selector, ticket, key_name FROM place WHERE standing = 3;

DELETE FROM place WHERE standing = 3;
