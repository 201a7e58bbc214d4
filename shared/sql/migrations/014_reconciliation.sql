-- How far reconciliation has come: one row for each consumer and type of event that its queue is bound to.
create table reconciliation_cursors (
  consumer    text not null,
  type        text not null,
  bound_since timestamptz not null,               -- what was published before was never owed; -infinity: everything is
  sent_until  timestamptz not null,               -- all that was sent up to here has been looked at; it never goes back
  primary key (consumer, type),
  constraint reconciliation_cursors_begin_when_bound check (sent_until >= bound_since)
) with (fillfactor = 50);                         -- room for the next pass in the row's own page

-- Events that a consumer is known to lack: they are sent again until it has them.
create table lost_events (
  event_id uuid not null,
  consumer text not null,
  sent_at  timestamptz,                           -- when reconciliation last sent it; null: not yet
  primary key (event_id, consumer)
) with (fillfactor = 70);

-- What was sent, by when: published, retried, redriven.
create index if not exists outbox_events_by_publication on outbox_events (published_at) where published_at is not null;
create index if not exists delayed_retries_by_sending on delayed_retries (sent_at) where sent_at is not null;
create index if not exists dead_letters_by_redrive on dead_letters (resolved_at) where state = 'REDRIVEN';
