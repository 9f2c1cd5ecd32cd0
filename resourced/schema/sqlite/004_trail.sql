-- `key_name` is the key that acted; of a break, `broken_by` is who did it, and `reason` why.

ALTER TABLE event ADD COLUMN key_name TEXT NOT NULL DEFAULT '';
ALTER TABLE event ADD COLUMN broken_by TEXT NOT NULL DEFAULT '';
ALTER TABLE event ADD COLUMN reason TEXT NOT NULL DEFAULT '';
