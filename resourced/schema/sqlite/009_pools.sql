-- `resource_group` is the group of a resource; empty means its own name. `longest` is the longest lease that a request may ask for, in
-- seconds; 0 means the timeout. `slots` is how many units the server makes of it; 0 means none.

ALTER TABLE resource ADD COLUMN resource_group TEXT NOT NULL DEFAULT '';
ALTER TABLE resource ADD COLUMN longest INTEGER NOT NULL DEFAULT 0;
ALTER TABLE resource ADD COLUMN slots INTEGER NOT NULL DEFAULT 0;

-- `lease` is that of this grant, in seconds; 0 means that of the resource. `joint` is the joint request that a place belongs to, by `seq`,
-- and `want` which of its wants it meets, from 0 on; a place that was asked for by name has joint 0.

ALTER TABLE place ADD COLUMN lease INTEGER NOT NULL DEFAULT 0;
ALTER TABLE place ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE place ADD COLUMN joint INTEGER NOT NULL DEFAULT 0;
ALTER TABLE place ADD COLUMN want INTEGER NOT NULL DEFAULT 0;

-- Each row is a request for several things at once; see resourced.wants.JointRequest.

CREATE TABLE joint_request (
    seq      INTEGER NOT NULL PRIMARY KEY,
    ticket   TEXT    NOT NULL,
    wants    TEXT    NOT NULL,
    yields   INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    lease    INTEGER NOT NULL,
    owner    TEXT    NOT NULL,
    key_name TEXT    NOT NULL,
    idempotency_key TEXT NOT NULL,
    since    INTEGER NOT NULL,
    granted  INTEGER NOT NULL
);

-- Each row makes a selector a unit of its resource's pool; see resourced.wants.Card. `tags` are parted by spaces. `out_reason` is NULL while
-- the unit is in service.

CREATE TABLE card (
    resource   TEXT    NOT NULL,
    selector   TEXT    NOT NULL,
    tags       TEXT    NOT NULL,
    note       TEXT    NOT NULL,
    out_reason TEXT,
    out_since  INTEGER NOT NULL,
    PRIMARY KEY (resource, selector)
);
