/**
 * The migrations in their order, written by `deno task generate`.
 *
 * @module
 */
import m001 from "./migrations/001_tables.sql" with { type: "text" };
import m002 from "./migrations/002_idempotency_keys.sql" with { type: "text" };
import m003 from "./migrations/003_dead_letter_resolutions.sql" with { type: "text" };
import m004 from "./migrations/004_suspect_deliveries.sql" with { type: "text" };
import m005 from "./migrations/005_retention.sql" with { type: "text" };
import m006 from "./migrations/006_inbox_duplicates.sql" with { type: "text" };
import m007 from "./migrations/007_delayed_retries.sql" with { type: "text" };
import m008 from "./migrations/008_replays.sql" with { type: "text" };
import m009 from "./migrations/009_faults.sql" with { type: "text" };
import m010 from "./migrations/010_heartbeats.sql" with { type: "text" };
import m011 from "./migrations/011_outbox_fillfactor.sql" with { type: "text" };
import m012 from "./migrations/012_dead_letter_traces.sql" with { type: "text" };
import m013 from "./migrations/013_retry_sent_at.sql" with { type: "text" };
import m014 from "./migrations/014_reconciliation.sql" with { type: "text" };
import m015 from "./migrations/015_republished_at.sql" with { type: "text" };
import m016 from "./migrations/016_replay_messages.sql" with { type: "text" };
import m017 from "./migrations/017_bounds_clocks_owners.sql" with { type: "text" };
import m018 from "./migrations/018_holds.sql" with { type: "text" };
import m019 from "./migrations/019_send_again.sql" with { type: "text" };
import m020 from "./migrations/020_event_history.sql" with { type: "text" };

/** Each one's name and text. */
export const MIGRATIONS = [
  { name: "001_tables", text: m001 },
  { name: "002_idempotency_keys", text: m002 },
  { name: "003_dead_letter_resolutions", text: m003 },
  { name: "004_suspect_deliveries", text: m004 },
  { name: "005_retention", text: m005 },
  { name: "006_inbox_duplicates", text: m006 },
  { name: "007_delayed_retries", text: m007 },
  { name: "008_replays", text: m008 },
  { name: "009_faults", text: m009 },
  { name: "010_heartbeats", text: m010 },
  { name: "011_outbox_fillfactor", text: m011 },
  { name: "012_dead_letter_traces", text: m012 },
  { name: "013_retry_sent_at", text: m013 },
  { name: "014_reconciliation", text: m014 },
  { name: "015_republished_at", text: m015 },
  { name: "016_replay_messages", text: m016 },
  { name: "017_bounds_clocks_owners", text: m017 },
  { name: "018_holds", text: m018 },
  { name: "019_send_again", text: m019 },
  { name: "020_event_history", text: m020 },
] as const;
