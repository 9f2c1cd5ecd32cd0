-- `priority` is that with which the ticket of the event has waited, -9 to 9.

ALTER TABLE event ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
