-- What became of a dead letter. An open one has no resolution; a closed one says when, and by what reason.
alter table dead_letters
  add column resolved_at timestamptz,
  add column resolution  text,
  add constraint dead_letters_closed_is_resolved
    check ((state = 'OPEN') = (resolved_at is null) and (state = 'OPEN') = (resolution is null));

-- Reconciliation asks whether an event that nobody processed was put aside.
create index dead_letters_by_event on dead_letters (event_id, consumer) where event_id is not null;
