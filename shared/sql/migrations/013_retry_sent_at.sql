-- When a retry was last sent to its consumer: until some time later it is on its way, and not lost.
alter table delayed_retries add column sent_at timestamptz;
