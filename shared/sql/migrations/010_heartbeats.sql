-- One row for each running copy of a process, written by itself every few seconds. Unlogged: a crash of the database
-- empties it, and the next heartbeats fill it again.
create unlogged table heartbeats (
  instance      uuid primary key,                  -- new at every start
  process       text not null,                     -- its name, such as outbox-relay
  pid           integer not null,
  host          text not null,                     -- where it connects from, as the database sees it
  version       text not null,                     -- of Deno
  started_at    timestamptz not null,
  seen_at       timestamptz not null,              -- by the database's clock, like everything that is compared with it
  last_batch_at timestamptz,
  counts        jsonb not null check (jsonb_typeof(counts) = 'object')
) with (fillfactor = 50);                          -- room for the next heartbeat in the row's own page
