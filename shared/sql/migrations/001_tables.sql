-- The tables of spec sections 2 to 4. References across modules are plain ids: a module may be cut out with its tables.
-- CHECK constraints tie every state to the data that must come with it, so that no code path can write half a fact.

create table orders (
  id             uuid primary key,                -- version 7: the newest order has the highest id
  user_id        uuid not null,
  course_id      uuid not null,
  amount         numeric(12, 2) not null check (amount > 0),
  status         text not null default 'PENDING' check (
    status in ('PENDING', 'PAID', 'COMPLETED', 'PAYMENT_FAILED', 'REFUND_IN_PROGRESS', 'REFUNDED')
  ),
  correlation_id text not null,
  created_at     timestamptz not null,
  updated_at     timestamptz not null check (updated_at >= created_at)
) with (fillfactor = 70);                         -- room for two status changes in the row's own page (HOT updates)

create table payments (
  id                 uuid primary key,
  order_id           uuid not null unique,        -- one charge per order, whatever the inbox remembers
  course_id          uuid not null,
  amount             numeric(12, 2) not null check (amount > 0),
  status             text not null check (status in ('SUCCEEDED', 'FAILED', 'REFUND_SUCCEEDED')),
  attempt_count      integer not null check (attempt_count >= 1),
  provider_reference text,
  refund_reference   text,
  failure_reason     text,
  created_at         timestamptz not null,
  updated_at         timestamptz not null check (updated_at >= created_at),
  constraint payments_charged_has_reference check ((status <> 'FAILED') = (provider_reference is not null)),
  constraint payments_failed_has_reason     check ((status = 'FAILED') = (failure_reason is not null)),
  constraint payments_refunded_has_reference check ((status = 'REFUND_SUCCEEDED') = (refund_reference is not null))
) with (fillfactor = 90);

create table enrollments (
  id         uuid primary key,
  order_id   uuid not null unique,                -- one seat per order
  course_id  uuid not null,
  status     text not null check (status in ('GRANTED', 'FAILED')),
  reason     text,
  created_at timestamptz not null,
  updated_at timestamptz not null check (updated_at >= created_at),
  constraint enrollments_failed_has_reason check ((status = 'FAILED') = (reason is not null))
);

create table notifications (
  id       uuid primary key,
  order_id uuid not null,
  type     text not null check (type in ('ORDER_COMPLETED', 'PAYMENT_FAILED', 'ORDER_REFUNDED')),
  sent_at  timestamptz not null,
  constraint notifications_one_per_outcome unique (order_id, type)
);

-- The outbox: an event is appended in the transaction that made it true, and published afterwards.
create table outbox_events (
  id              uuid primary key,               -- the event id, version 7
  type            text not null,
  order_id        uuid not null,
  correlation_id  text not null,
  traceparent     text,
  payload         jsonb not null check (jsonb_typeof(payload) = 'object'),   -- the whole envelope, as it is sent
  occurred_at     timestamptz not null,
  published_at    timestamptz,
  retry_count     integer not null default 0 check (retry_count >= 0),
  last_error      text,
  next_attempt_at timestamptz not null default '-infinity',                  -- never tried: due since ever
  constraint outbox_events_error_is_counted check (last_error is null or retry_count > 0)
);

-- What the relay claims: rows never tried in the order of their ids, then those whose backoff is over. A claim reads
-- as many entries as it takes rows, however many wait behind them or back off.
create index outbox_events_unpublished on outbox_events (next_attempt_at, id) where published_at is null;
create index outbox_events_by_order on outbox_events (order_id);

-- The inbox: an event is processed by a consumer if and only if it has a row here.
create table processed_events (
  event_id     uuid not null,
  consumer     text not null,
  processed_at timestamptz not null,
  primary key (event_id, consumer)
);

-- What a consumer could not process, as it was received.
create table dead_letters (
  id              uuid primary key,
  consumer        text not null,
  event_id        uuid,
  event_type      text,
  order_id        uuid,
  correlation_id  text,
  body            bytea not null,
  reason          text not null,
  detail          text not null,
  attempts        integer not null check (attempts >= 1),
  state           text not null default 'OPEN' check (state in ('OPEN', 'REDRIVEN', 'DISCARDED')),
  first_failed_at timestamptz not null,
  last_failed_at  timestamptz not null check (last_failed_at >= first_failed_at),
  fingerprint     bytea not null generated always as (sha256(body)) stored
);

-- A worker killed between writing a dead letter and its ack gets the message again: the same letter, seen once more.
create unique index dead_letters_one_open on dead_letters (consumer, fingerprint) where state = 'OPEN';
create index dead_letters_by_order on dead_letters (order_id) where order_id is not null;
