-- The keys that clients sent with POST /orders, each written in the transaction of the order that it made. The answer
-- is not kept: what an order's creation was answered with follows from columns of the order that never change.
create table idempotency_keys (
  key         text primary key check (length(key) between 1 and 255),
  fingerprint bytea not null check (octet_length(fingerprint) = 32),   -- SHA-256 of what was asked for
  order_id    uuid not null,
  created_at  timestamptz not null
);
