-- Faults that were asked for and have yet to strike. Used only where FAULTS_ENABLED is on. Each strike is counted down
-- and committed before it strikes: a crash then happens as often as it was asked for, and not once more.
create table faults (
  id             uuid primary key,                 -- version 7: armed first, strikes first
  point          text not null,
  consumer       text,                             -- null: whichever it is
  correlation_id text,                             -- null: whatever it is about
  remaining      integer not null check (remaining >= 0),
  delay_ms       integer check (delay_ms >= 0),
  created_at     timestamptz not null
);
