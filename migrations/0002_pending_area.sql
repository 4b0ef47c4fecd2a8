-- Where a pending sign-in was begun, so that the caps can be on networks: the customer's (an IPv4 address, a /64) and a
-- wider one (a /24, a /48), as `place` cuts them. Rows from before live for minutes and count for nobody.

ALTER TABLE pending_sign_in ADD COLUMN area TEXT NOT NULL DEFAULT '';
ALTER TABLE pending_sign_in ADD COLUMN wide_area TEXT NOT NULL DEFAULT '';
