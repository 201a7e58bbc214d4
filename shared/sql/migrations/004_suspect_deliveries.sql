-- Messages that were in a worker's hands when it died, more than once: how often each was taken up alone since. Written
-- only for messages that were delivered several times, and deleted when they are settled.
create table suspect_deliveries (
  consumer    text not null,
  fingerprint bytea not null,                       -- sha256 of the body as received
  attempts    integer not null check (attempts >= 1),
  last_at     timestamptz not null,
  primary key (consumer, fingerprint)
);
