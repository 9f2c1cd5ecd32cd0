-- `passed` is what the clock of marks showed when a daemon last sent a heartbeat, in milliseconds; see resourced.service.retention.

ALTER TABLE server ADD COLUMN passed INTEGER NOT NULL DEFAULT 0;
