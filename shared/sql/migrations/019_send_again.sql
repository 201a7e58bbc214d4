-- sha256 of what follows: e0819369d20f6df7
-- One mechanism to send again: a frozen set is of published events, or of dead letters, and says what became of each.
alter table replays
  add column action text not null default 'REPLAY' check (action in ('REPLAY', 'REPUBLISH', 'REDRIVE', 'DISCARD'));

alter table replay_events
  add column letter_id     uuid,                  -- the dead letter; event_id is the same where that is no event
  add column result        text check (result in ('SENT', 'SKIPPED', 'DISCARDED')),   -- null before, and of older sets
  add column error         text,                  -- why it was skipped
  add column repeats_before integer;              -- repeats its consumer had absorbed when it was sent; null: it lacked it
create index replay_events_by_event on replay_events (event_id);

alter table dead_letters
  add column pattern     text,                    -- the detail without what differs, by which letters are grouped
  add column edited_body bytea;                   -- what was sent in the place of the body

-- Whether a letter that is no event was redriven before.
create index dead_letters_redriven on dead_letters (fingerprint) where state = 'REDRIVEN';

-- What operators did.
create table operations (
  id      uuid primary key,                       -- version 7: the newest has the highest
  at      timestamptz not null default clock_timestamp(),
  action  text not null,
  subject jsonb not null check (jsonb_typeof(subject) = 'object'),   -- on what
  source  text not null,                          -- from where: address and user agent
  reason  text
);
