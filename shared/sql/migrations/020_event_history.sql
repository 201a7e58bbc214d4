-- sha256 of what follows: be4df27c45d1196e
-- What happened to an event out of the usual: a copy that came back from a worker that was gone, or that its consumer had
-- for long, and each time that a later one of its kind has overwritten in its own table. Of an event that goes its way
-- without trouble there is nothing here, so it costs nothing there.
create table event_history (
  event_id uuid not null,
  consumer text,                                    -- null for a publication, which is for all of them
  kind     text not null check (kind in ('published', 'retry', 'retried', 'resent', 'duplicate', 'redelivered', 'taken')),
  at       timestamptz not null,
  count    integer,                                 -- of a retry or a duplicate, which one it was; of taken, for how many ms
  detail   text                                     -- of a retry, what the attempt met with
);
create index event_history_by_event on event_history (event_id);

-- Whichever statement overwrites the last time of something, and whichever process, old or new: the one before is kept.
create function keep_history() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
begin
  case tg_name
    when 'keep_publication' then
      insert into event_history values (old.id, null, 'published', old.published_at);
    when 'keep_retry' then
      insert into event_history values (old.event_id, old.consumer, 'retry', old.last_failed_at, old.retries, old.error);
    when 'keep_retried' then
      insert into event_history values (old.event_id, old.consumer, 'retried', old.sent_at);
    when 'keep_resent' then
      insert into event_history values (new.event_id, new.consumer, 'resent', new.sent_at);
    when 'keep_duplicate' then
      insert into event_history
      values (old.event_id, old.consumer, 'duplicate', old.last_duplicate_at, old.duplicates);
  end case;
  return null;
end
$$;

-- Each for its own columns: what publishes and what processes an event for the first time names none of these.
create trigger keep_publication after update of republished_at on outbox_events for each row
  when (old.published_at is not null) execute function keep_history();
create trigger keep_retry after update of last_failed_at on delayed_retries for each row
  when (old.last_failed_at < new.last_failed_at) execute function keep_history();
create trigger keep_retried after update of sent_at on delayed_retries for each row
  when (old.sent_at is not null) execute function keep_history();
create trigger keep_resent after update of sent_at on lost_events for each row
  execute function keep_history();                  -- at once: the row goes when the event has arrived
create trigger keep_duplicate after update of last_duplicate_at on processed_events for each row
  when (old.last_duplicate_at is not null) execute function keep_history();

-- grants
grant select on event_history to orderflow_ops;
grant select (event_id), delete on event_history to orderflow_retention;
