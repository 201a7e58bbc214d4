-- Replays: published events that are sent to their consumers once more. A dry run writes the set down, the relay sends
-- it, and `sent` is how far it is: whoever goes on after a kill goes on from there.
create table replays (
  id                uuid primary key,             -- version 7: the newest replay has the highest
  filter            jsonb not null check (jsonb_typeof(filter) = 'object'),   -- what was asked for
  state             text not null default 'PREPARED'
                    check (state in ('PREPARED', 'RUNNING', 'DONE', 'CANCELLED')),
  total             integer not null check (total >= 0),
  already_processed integer not null check (already_processed between 0 and total),   -- when it was prepared
  sent              integer not null default 0 check (sent between 0 and total),      -- the last position dealt with
  skipped           integer not null default 0 check (skipped between 0 and sent),
  rate              integer check (rate between 1 and 5000),                          -- messages per second
  retry_count       integer not null default 0 check (retry_count >= 0),              -- failed tries in a row
  last_error        text,
  due_at            timestamptz,                  -- when the next messages may go
  reason            text,
  created_at        timestamptz not null,
  started_at        timestamptz,
  finished_at       timestamptz,
  constraint replays_start_has_a_rate      check ((rate is null) = (started_at is null)),
  constraint replays_prepared_is_not_begun check (state <> 'PREPARED' or started_at is null),
  constraint replays_running_was_started   check (state not in ('RUNNING', 'DONE') or started_at is not null),
  constraint replays_nothing_before_start  check (sent = 0 or started_at is not null),
  constraint replays_running_is_due        check ((state = 'RUNNING') = (due_at is not null)),
  constraint replays_ended_has_a_time      check ((state in ('DONE', 'CANCELLED')) = (finished_at is not null)),
  constraint replays_done_is_complete      check (state <> 'DONE' or sent = total),
  constraint replays_cancelled_has_reason  check ((state = 'CANCELLED') = (reason is not null)),
  constraint replays_retry_has_an_error    check (retry_count = 0 or last_error is not null)
);

-- What the relay looks at every second: nearly always empty.
create index replays_running on replays (due_at) where state = 'RUNNING';

-- The frozen set: one row for each event and consumer that is to get it, in the order of sending.
create table replay_events (
  replay_id uuid not null references replays (id),
  position  integer not null check (position >= 1),
  event_id  uuid not null,
  consumer  text not null,
  primary key (replay_id, position)
);
