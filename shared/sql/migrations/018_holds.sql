-- sha256 of what follows: b44e4ac0b4d7881b
-- Parts of the machine that an operator holds: the relay, a consumer, or one of the two inner seams. What is held takes
-- nothing until it is resumed, or `until` has come by the clock of the database. A row stays when its hold is over: one for
-- each part there is.
create table holds (
  part   text primary key,
  since  timestamptz not null,
  until  timestamptz not null,
  steps  integer not null default 0 check (steps >= 0),  -- granted, and not yet taken: each lets one event through
  reason text
);
