-- The trace that a dead letter belongs to, so that a redrive goes on with it.
alter table dead_letters add column traceparent text;
