-- One role per module, with its own tables and no other module's. A process connects as the database's user and takes
-- on its role from the first statement on. Roles belong to the whole cluster, their grants to this database.
-- Repeatable: run again whenever this file changes. What it no longer grants is taken back.
--
-- Every grant is the least that the statements of shared/sql need: grants_test.ts takes each away and sees one of them
-- refused. A change of rows is granted by column, so that no module can change what its rows were made with.

do $$
declare
  modules text[] := string_to_array(current_setting('orderflow.modules'), ',');
  part text;
  -- Since 16 a role's creator is its member without being allowed to take it on.
  needed text := case when current_setting('server_version_num')::int >= 160000 then 'set' else 'member' end;
begin
  foreach part in array modules || array['relay', 'ops', 'retention'] loop
    if not exists (select from pg_roles where rolname = 'orderflow_' || part) then
      begin
        execute format('create role %I nologin', 'orderflow_' || part);
      exception when duplicate_object or unique_violation then
        null;  -- another database of this cluster is being set up at the same moment
      end;
    end if;
    if not pg_has_role(current_user, 'orderflow_' || part, needed) then
      execute format('grant %I to %I', 'orderflow_' || part, current_user);
    end if;
    -- What the last version granted, and this one does not, is taken back: all of it is granted anew below. That the schema
    -- is up to date is what a process asks at its start that logs in as a user of its own, see SECURITY.md.
    execute format($grants$
      revoke all on all tables in schema public from %1$I;
      grant usage on schema public to %1$I;
      grant select on schema_migrations to %1$I;
    $grants$, 'orderflow_' || part);
  end loop;

  -- Rows, for what all modules share: whoever owns the tables is not held to these. Made anew, as the grants are.
  for part in select format('drop policy %I on %I', policyname, tablename) from pg_policies where schemaname = 'public' loop
    execute part;
  end loop;
  alter table outbox_events enable row level security;
  alter table processed_events enable row level security;
  alter table consumer_owners enable row level security;
  foreach part in array array['relay', 'ops', 'retention'] loop
    execute format($policies$
      create policy %1$I on outbox_events to %1$I using (true);
      create policy %1$I on processed_events to %1$I using (true);
    $policies$, 'orderflow_' || part);
  end loop;

  -- Every module: append to the outbox, mark its inbox, put aside what it cannot process or what failed for now (of these
  -- it reads as much as writing takes, and no message of another module), count down the faults that strike it and the
  -- steps of its holds, and write its processes' heartbeats.
  foreach part in array modules loop
    execute format($grants$
      grant insert on outbox_events to %1$I;
      grant select, insert, update (duplicates, last_duplicate_at) on processed_events to %1$I;
      grant select, insert on consumer_owners to %1$I;
      grant select (consumer, fingerprint, state, attempts, reason, detail, pattern, last_failed_at), insert,
        update (attempts, last_failed_at, reason, detail, pattern) on dead_letters to %1$I;
      grant select, insert, update (attempts, last_at), delete on suspect_deliveries to %1$I;
      grant insert on event_history to %1$I;
      grant select (event_id, consumer, error, retries, first_seen_at, last_failed_at, due_at), insert,
        update (error, retries, first_seen_at, last_failed_at, due_at) on delayed_retries to %1$I;
      grant select, update (remaining) on faults to %1$I;
      grant select (part, until, steps), update (steps) on holds to %1$I;
      grant select, insert, update (seen_at, last_batch_at, counts, clock_ahead_ms), delete on heartbeats to %1$I;
    $grants$, 'orderflow_' || part);
    -- It tells of its own subject (certificates: certificate.issued), and marks the inbox under no other role's name.
    execute format($policies$
      create policy %1$I on outbox_events for insert to %1$I with check (split_part(type, '.', 1) || 's' = %2$L);
      create policy %1$I on processed_events to %1$I
        using (consumer <> all (array(select consumer from consumer_owners where owner <> %1$L)));
      create policy %1$I on consumer_owners to %1$I using (true) with check (owner = %1$L);
    $policies$, 'orderflow_' || part, part);
  end loop;

  -- Nobody but the owner makes tables, lasting or temporary ones. Where the user of the URL owns neither database nor
  -- schema these two change nothing, and warn.
  execute format('revoke temporary on database %I from public', current_database());
  revoke create on schema public from public;
end
$$;

-- Each module: its own table. Those of later migrations stand there, behind "-- grants".
grant select, insert, update (status, updated_at) on orders to orderflow_orders;
grant select, insert on idempotency_keys to orderflow_orders;
grant select, insert, update (status, refund_reference, updated_at) on payments to orderflow_payments;
grant select, insert on enrollments to orderflow_enrollments;
grant select, insert on notifications to orderflow_notifications;

-- A refund has no module of its own.
create policy refund_requested on outbox_events for insert to orderflow_orders with check (type = 'refund.requested');
create policy refund_succeeded on outbox_events for insert to orderflow_payments with check (type = 'refund.succeeded');

-- The relay: read what waits, and say what became of it. It can neither add an event nor change what one says. For
-- reconciliation it reads what was processed or put aside, and writes down how far it is and what it misses.
grant select, update (published_at, retry_count, last_error, next_attempt_at) on outbox_events to orderflow_relay;
grant select (event_id, consumer, duplicates) on processed_events to orderflow_relay;
grant select, update (state, resolved_at, resolution) on dead_letters to orderflow_relay;
grant select, update (due_at, sent_at) on delayed_retries to orderflow_relay;
grant select, insert, update (sent_until) on reconciliation_cursors to orderflow_relay;
grant select, insert, update (sent_at), delete on lost_events to orderflow_relay;

-- Ops: read everything but the clients' keys; have an event published now.
grant select on orders, payments, enrollments, notifications, outbox_events, processed_events, dead_letters, delayed_retries
  to orderflow_ops;
grant update (next_attempt_at) on outbox_events to orderflow_ops;
grant update (state, resolved_at, resolution, edited_body) on dead_letters to orderflow_ops;
grant select (consumer, type, bound_since, sent_until) on reconciliation_cursors to orderflow_ops;
grant select on lost_events to orderflow_ops;

-- Sets to send again: ops writes them down, starts and cancels; the relay sends, and says how far it is. Letters ops also
-- sends itself.
grant select, insert on replays, replay_events to orderflow_ops;
grant update (action, state, sent, skipped, rate, retry_count, last_error, reason, due_at, started_at, finished_at) on replays
  to orderflow_ops;
grant update (settled_at, result, error, repeats_before) on replay_events to orderflow_ops;
grant select, update (state, sent, skipped, retry_count, last_error, reason, due_at, finished_at) on replays
  to orderflow_relay;
grant select, update (settled_at, result, error, repeats_before) on replay_events to orderflow_relay;

-- Operations: ops writes each down, and nobody changes one.
grant select, insert on operations to orderflow_ops;

-- Faults: ops arms them; whoever one strikes counts it down.
grant select, insert, delete on faults to orderflow_ops;
grant select, update (remaining) on faults to orderflow_relay;

-- Holds: ops sets them and grants steps; whoever is held takes those.
grant select, insert, update (since, until, steps, reason) on holds to orderflow_ops;
grant select (part, until, steps), update (steps) on holds to orderflow_relay;

-- Heartbeats: every process writes its own, and forgets those that are long silent; ops looks.
grant select, insert, update (seen_at, last_batch_at, counts, clock_ahead_ms), delete on heartbeats to orderflow_relay;
grant select on heartbeats to orderflow_ops;

-- Retention: delete what is old, and see no more of it than that takes, and of what it takes to know who still needs it.
grant select (id, type, payload, published_at), delete on outbox_events to orderflow_retention;
grant update (published_at) on outbox_events to orderflow_retention;
grant select (event_id, consumer), delete on processed_events to orderflow_retention;
grant select (consumer, fingerprint, last_at), delete on suspect_deliveries to orderflow_retention;
grant select (key, created_at), delete on idempotency_keys to orderflow_retention;
grant select (event_id, consumer, first_seen_at, due_at), delete on delayed_retries to orderflow_retention;
grant select (event_id, consumer, event_type, fingerprint, is_malformed, state, resolved_at) on dead_letters
  to orderflow_retention;
grant select (consumer, type, bound_since) on reconciliation_cursors to orderflow_retention;
grant select (id, state, created_at, finished_at), delete on replays to orderflow_retention;
grant select (replay_id, position, event_id, result, settled_at), delete on replay_events to orderflow_retention;
grant select (id), delete on operations to orderflow_retention;
