-- Events that a consumer is to get once more, each with what the last attempt met with. The consumer writes the row and
-- acks the message; the relay sends it back when it is due. The row stays, with nothing due, as the event's history.
create table delayed_retries (
  consumer       text not null,
  event_id       uuid not null,
  event_type     text not null,
  order_id       uuid not null,
  correlation_id text not null,
  traceparent    text,
  body           bytea not null,                    -- the message's body, exactly as it was received
  error          text not null,
  retries        integer not null check (retries >= 0),
  first_seen_at  timestamptz not null,
  last_failed_at timestamptz not null,
  due_at         timestamptz,                       -- null: it has been sent
  primary key (event_id, consumer)
) with (fillfactor = 70);

create index delayed_retries_due on delayed_retries (due_at) where due_at is not null;
create index delayed_retries_by_order on delayed_retries (order_id);
create index delayed_retries_by_age on delayed_retries (first_seen_at);
