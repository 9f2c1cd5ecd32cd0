-- `restored` is the word of the last RESOURCED_RESTORED for which all places were ended; see resourced.restoration.

ALTER TABLE server ADD COLUMN restored TEXT NOT NULL DEFAULT '';
