-- sha256 of what follows: 31627ea3c4568459
-- What happened to an event on its way to one consumer, out of the usual: one row for each time, and none is changed. Of an
-- event that goes its way without trouble there is nothing here, so it costs nothing there.
create table event_history (
  event_id uuid not null,
  consumer text not null,
  kind     text not null check (kind in ('redelivered', 'taken', 'duplicate', 'retry', 'retried', 'resent')),
  at       timestamptz not null,                    -- by the clock of who wrote it
  count    integer,                                 -- taken: for how many ms; retry: how many were spent
  detail   text                                     -- retry: what the attempt met with
);
create index event_history_by_event on event_history (event_id);

-- grants
grant insert on event_history to orderflow_relay;
grant select on event_history to orderflow_ops;
grant select (event_id), delete on event_history to orderflow_retention;
