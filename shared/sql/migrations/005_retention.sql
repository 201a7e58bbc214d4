-- Retention deletes what is old, by these. The other tables it prunes have time in their keys.
create index idempotency_keys_by_age on idempotency_keys (created_at);
create index suspect_deliveries_by_age on suspect_deliveries (last_at);
