-- Each row is what a ticket lost at a selector; see resourced.model.Loss. `event` is the id of the event that tells of it.

CREATE TABLE loss (
    event    INTEGER NOT NULL PRIMARY KEY,
    resource TEXT    NOT NULL,
    selector TEXT    NOT NULL,
    ticket   TEXT    NOT NULL,
    key_name    TEXT    NOT NULL
);

-- A place with the standing 3 was one that a ticket had lost while it lived elsewhere. No event has an id below 1.

INSERT INTO loss (event, resource, selector, ticket, key_name)
    SELECT -seq, resource, selector, ticket, key_name FROM place WHERE standing = 3;

DELETE FROM place WHERE standing = 3;
