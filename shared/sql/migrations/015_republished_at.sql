-- When an operator last had an event published again: its consumers may have had it before, and are told so.
alter table outbox_events add column republished_at timestamptz;
