-- The inbox shows what it absorbed: how often an event came again, and when it last did.
alter table processed_events
  add column duplicates        integer not null default 0 check (duplicates >= 0),
  add column last_duplicate_at timestamptz,
  add constraint processed_events_duplicates_have_a_time check ((duplicates = 0) = (last_duplicate_at is null));
