// The text of each migration under its name, written by `deno task generate`.

export { default as "001_tables" } from "./migrations/001_tables.sql" with { type: "text" };
export { default as "002_idempotency_keys" } from "./migrations/002_idempotency_keys.sql" with { type: "text" };
export { default as "003_dead_letter_resolutions" } from "./migrations/003_dead_letter_resolutions.sql" with { type: "text" };
export { default as "004_suspect_deliveries" } from "./migrations/004_suspect_deliveries.sql" with { type: "text" };
export { default as "005_retention" } from "./migrations/005_retention.sql" with { type: "text" };
export { default as "006_inbox_duplicates" } from "./migrations/006_inbox_duplicates.sql" with { type: "text" };
export { default as "007_delayed_retries" } from "./migrations/007_delayed_retries.sql" with { type: "text" };
export { default as "008_replays" } from "./migrations/008_replays.sql" with { type: "text" };
export { default as "009_faults" } from "./migrations/009_faults.sql" with { type: "text" };
export { default as "010_heartbeats" } from "./migrations/010_heartbeats.sql" with { type: "text" };
export { default as "011_outbox_fillfactor" } from "./migrations/011_outbox_fillfactor.sql" with { type: "text" };
export { default as "012_dead_letter_traces" } from "./migrations/012_dead_letter_traces.sql" with { type: "text" };
export { default as "013_retry_sent_at" } from "./migrations/013_retry_sent_at.sql" with { type: "text" };
export { default as "014_reconciliation" } from "./migrations/014_reconciliation.sql" with { type: "text" };
export { default as "015_republished_at" } from "./migrations/015_republished_at.sql" with { type: "text" };
export { default as "016_replay_messages" } from "./migrations/016_replay_messages.sql" with { type: "text" };
export { default as "017_bounds_clocks_owners" } from "./migrations/017_bounds_clocks_owners.sql" with { type: "text" };
export { default as "018_holds" } from "./migrations/018_holds.sql" with { type: "text" };
export { default as "019_send_again" } from "./migrations/019_send_again.sql" with { type: "text" };
export { default as "020_event_history" } from "./migrations/020_event_history.sql" with { type: "text" };
