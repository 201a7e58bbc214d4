// `DATABASE_URL`, taken apart: in the form of libpq
// (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS), with all of its hosts.

/** A server's address, or the path of its socket. */
export type DatabaseServer = { readonly host: string; readonly port: number } | { readonly path: string };

export interface DatabaseTarget {
  /** To be tried in turn: at least one. */
  readonly servers: readonly [DatabaseServer, ...DatabaseServer[]];
  readonly user: string | undefined;
  readonly password: string | undefined;
  readonly database: string | undefined;
  readonly tls: "off" | "if offered" | "unverified" | "verified";
}

export const DATABASE_URL_FORM =
  "must be a URL such as postgres://user:password@127.0.0.1:5432/orderflow, or with several hosts, with commas between";

const FORM =
  /^postgres(?:ql)?:\/\/(?:(?<user>[^:/?#]*)(?::(?<password>[^/?#]*))?@)?(?<hosts>[^@/?#]*)(?:\/(?<database>[^?#]*))?(?:\?(?<query>[^#]*))?$/;
const HOST = /^(?<host>\[[\da-fA-F:.]+\]|[^:[\]]*)(?::(?<port>\d{1,5}))?$/;

const TLS = {
  "disable": "off",
  "allow": "if offered",
  "prefer": "if offered",
  "require": "unverified",
  "verify-ca": "verified", // and the name, which is stricter
  "verify-full": "verified",
} as const;

/**
 * The parameters that may be there, with their values where not all can be kept. Every connection is to a server that
 * takes writes, whatever `target_session_attrs` says. What else the server would take as a setting is pinned by us.
 */
const PARAMETERS: Readonly<Record<string, readonly string[] | null>> = {
  host: null,
  port: null,
  sslmode: Object.keys(TLS),
  sslrootcert: ["system"], // a process may read no files
  target_session_attrs: ["any", "primary", "read-write"],
  channel_binding: ["disable", "prefer"], // the client knows no SCRAM-SHA-256-PLUS
};

const LOCAL: DatabaseServer = { host: "localhost", port: 5432 };

/**
 * Takes a `DATABASE_URL` apart.
 *
 * Errors: with what it must be or have instead, to be read after its name; nothing of its user and password is in it.
 */
export function parseDatabaseUrl(text: string): DatabaseTarget {
  const parts = FORM.exec(text)?.groups;
  if (!parts) {
    throw new Error(
      `${DATABASE_URL_FORM}, with any of : / ? # % in its user or password as %3A %2F %3F %23 %25`,
    );
  }
  const { user, password, hosts = "", database, query = "" } = parts;
  const parameters = parametersOf(query);
  return {
    servers: serversOf(parameters.get("host") ?? hosts, parameters.get("port") ?? ""),
    user: decode(user),
    password: decode(password),
    database: decode(database),
    tls: Object.entries(TLS).find(([mode]) => mode === parameters.get("sslmode"))?.[1] ?? "off",
  };
}

/** The addresses that a `DATABASE_URL` names, as `host:port`; a socket of Unix has none. Errors: as `parseDatabaseUrl`. */
export function databaseAddresses(text: string): string[] {
  return parseDatabaseUrl(text).servers.flatMap((server) => {
    if ("path" in server) return [];
    return server.host.includes(":") ? `[${server.host}]:${server.port}` : `${server.host}:${server.port}`;
  });
}

function parametersOf(query: string): Map<string, string> {
  const parameters = new Map(new URLSearchParams(query));
  for (const [name, value] of parameters) {
    const values = PARAMETERS[name];
    if (values === undefined) {
      throw new Error(
        `must be without "${name}": the parameters it takes are ${Object.keys(PARAMETERS).join(", ")}`,
      );
    }
    if (values && !values.includes(value)) {
      const hint = name === "sslrootcert"
        ? "; a certificate authority of your own goes into the file that DENO_CERT names"
        : "";
      throw new Error(`must have no other ${name} than ${values.join(" or ")}${hint}`);
    }
  }
  return parameters;
}

function serversOf(hosts: string, ports: string): DatabaseTarget["servers"] {
  const each = ports.split(",");
  const [first = LOCAL, ...others] = hosts === "" ? [] : hosts.split(",").map((text, i): DatabaseServer => {
    const { host, port } = (text.startsWith("/") ? { host: text } : HOST.exec(text)?.groups) ?? {};
    const number = Number(port ?? (each[each.length > 1 ? i : 0] || 5432));
    if (!host || !(number >= 1 && number <= 65_535)) {
      throw new Error(
        "must name each of its hosts as host, host:port or [address]:port, with ports from 1 to 65535",
      );
    }
    const name = decode(host);
    if (name.startsWith("/")) return { path: `${name}/.s.PGSQL.${number}` };
    return { host: name.replace(/^\[(.*)\]$/, "$1"), port: number };
  });
  return [first, ...others];
}

/** Decodes the user or password of a URL, or all of it. Errors: with what it must have, as `parseDatabaseUrl`. */
export function decode<T extends string | undefined>(text: T): T | string {
  try {
    return text && decodeURIComponent(text);
  } catch {
    throw new Error("must have each % of a user or password written as %25");
  }
}
