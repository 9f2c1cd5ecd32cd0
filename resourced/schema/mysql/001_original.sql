-- The tables that the original server (Small Swoole Resource Server) made.
-- In a database of that server they are there already, and nothing happens here.

CREATE TABLE IF NOT EXISTS resource (
    id      VARCHAR(255) NOT NULL,
    name    VARCHAR(255) NOT NULL,
    timeout INT          NOT NULL DEFAULT 0,
    PRIMARY KEY (id),
    UNIQUE KEY name (name)
) ENGINE = InnoDB, DEFAULT CHARACTER SET = utf8mb4;

CREATE TABLE IF NOT EXISTS resource_data (
    id          VARCHAR(255) NOT NULL,
    id_resource VARCHAR(255) NOT NULL,
    selector    VARCHAR(255) NOT NULL,
    locked      TINYINT(1)   NOT NULL DEFAULT 0,
    data        LONGTEXT     NOT NULL,
    PRIMARY KEY (id),
    UNIQUE KEY id_resource_selector (id_resource, selector),
    CONSTRAINT resource_data_of_resource FOREIGN KEY (id_resource) REFERENCES resource (id)
) ENGINE = InnoDB, DEFAULT CHARACTER SET = utf8mb4;
