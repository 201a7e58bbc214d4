-- sha256 of what follows: a7ac7faafe57d4f2
-- When a message of a replay was dealt with, sent or skipped: what of a running one has no time here is still to be sent.
alter table replay_events add column settled_at timestamptz;
update replay_events m set settled_at = now() from replays r
  where r.id = m.replay_id and r.state = 'RUNNING' and m.position <= r.sent;
create index replay_events_waiting on replay_events (replay_id, position) where settled_at is null;
