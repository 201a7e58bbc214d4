/**
 * Writes what goes over the broker to `specs/asyncapi.yaml`, in AsyncAPI 3. A test holds the file to the catalogue and
 * the topology.
 *
 * @module
 */
import { stringify } from "yaml";
import { readConfig, TOPOLOGY_VARIABLES, topologyOf } from "../shared/process/config.ts";
import { asyncApiDocument } from "./asyncapi_document.ts";

/** The text of the file: the topology under its usual names. */
export function asyncApiText(): string {
  const document = asyncApiDocument(topologyOf(readConfig(TOPOLOGY_VARIABLES, () => undefined)));
  const written = "# Written by specs/write_asyncapi.ts out of the catalogue of events and the topology.\n";
  return written + stringify(document, { aliasDuplicateObjects: false, compat: "yaml-1.1", lineWidth: 110 });
}

if (import.meta.main) await Deno.writeTextFile(new URL("asyncapi.yaml", import.meta.url), asyncApiText());
