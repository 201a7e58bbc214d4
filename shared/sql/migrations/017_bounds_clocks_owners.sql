-- sha256 of what follows: f5a8dc67aa9d2543
-- What strangers send, clocks that are wrong, and modules that take another's place.

-- A dead letter of a message that was too large keeps the beginning of its body: so many bytes that had. One whose body is
-- no event does not stand for the event whose id it has: another copy of that may be lost.
alter table dead_letters
  add column cut_from     integer check (cut_from > 0),
  add column is_malformed boolean not null default false;

-- What goes with traceparent, and is passed on as it came.
alter table outbox_events   add column tracestate text;
alter table delayed_retries add column tracestate text;
alter table dead_letters    add column tracestate text;

-- How far the process's clock was ahead of the database's.
alter table heartbeats add column clock_ahead_ms double precision;

-- A scenario's fault is for its own order: who replaces what is armed leaves it alone.
alter table faults add column by_scenario boolean not null default false;

-- Which role consumes under which name: no other one may mark, in the inbox, what that has processed.
create table consumer_owners (
  consumer text primary key,
  owner    name not null default current_user
);

-- For numeric, NaN is more than any number. Not validated: that would read the tables while nobody else may use them.
-- not breaking: no process has ever written one
alter table orders add constraint orders_amount_is_a_number check (amount <> 'NaN') not valid;
-- not breaking: no process has ever written one
alter table payments add constraint payments_amount_is_a_number check (amount <> 'NaN') not valid;
