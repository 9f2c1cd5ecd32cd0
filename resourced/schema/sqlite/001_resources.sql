-- TEXT is compared byte by byte here, so names are exact.

CREATE TABLE resource (
    id      TEXT    NOT NULL PRIMARY KEY,
    name    TEXT    NOT NULL UNIQUE,
    timeout INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE resource_data (
    id          TEXT NOT NULL PRIMARY KEY,
    id_resource TEXT NOT NULL REFERENCES resource (id),
    selector    TEXT NOT NULL,
    data        TEXT NOT NULL,
    UNIQUE (id_resource, selector)
);
