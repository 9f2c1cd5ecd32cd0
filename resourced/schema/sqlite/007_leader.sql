-- The row of `server` is the leader's own, and each of its commits changes it: `beat` grows with every one. Whoever takes over
-- has seen `epoch` and `beat` stand still; `state` is 'up' during a term and 'gone' when a daemon has stepped down, which
-- spares the next one that wait; `guard` names the file that the leader has locked.

ALTER TABLE server ADD COLUMN beat INTEGER NOT NULL DEFAULT 0;
ALTER TABLE server ADD COLUMN state TEXT NOT NULL DEFAULT 'gone';
ALTER TABLE server ADD COLUMN guard TEXT NOT NULL DEFAULT '';
