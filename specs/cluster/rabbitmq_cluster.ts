// A RabbitMQ cluster on loopback, of nodes that are real programs: for tests that kill them. It needs the programs of the
// `rabbitmq-server` package; a server that runs already is not touched, nor is its `epmd`.

import { connect } from "amqplib";
import { join } from "node:path";
import { freePort } from "../../workers/dev/services.ts";
import { createServer, listening, makeHome, programOf, runProgram, SERVICES_ROOT } from "./programs.ts";

/** Where Debian keeps the programs themselves; those in /usr/sbin insist on the user of the package. */
const PROGRAMS = Deno.env.get("RABBITMQ_PROGRAMS") ?? "/usr/lib/rabbitmq/bin";
/** A node; `name` is its name in the cluster, such as `one@localhost`, and `port` the one on which it takes clients. */
export type RabbitNode = ReturnType<typeof nodeOf>;

/** A running cluster. Disposing of it ends all and deletes their data. */
export type RabbitCluster = Awaited<ReturnType<typeof startRabbitCluster>>;

/**
 * Starts a node for each of `names`. They find one another by a list in their configuration, as in docker-compose.yml.
 *
 * Errors: when the package is not installed, or a node does not start within a minute, with the end of its log.
 */
export async function startRabbitCluster(names: readonly string[]) {
  await requirePrograms();
  await using resources = new AsyncDisposableStack();
  const { here, theirs } = resources.use(await makeHome("orderflow_cluster_"));
  await Deno.writeTextFile(join(here, ".erlang.cookie"), crypto.randomUUID(), { mode: 0o400 });
  await Deno.writeTextFile(join(here, "enabled_plugins"), "[].");
  await Deno.writeTextFile(join(here, "rabbitmq.conf"), configuration(names));
  const env = await startNameServer(theirs, resources);
  const nodes = names.map((name) => nodeOf(name, names.filter((other) => other !== name), theirs, env));
  for (const node of nodes) resources.defer(() => node.kill());
  await Promise.all(nodes.map((node) => node.start()));
  const owned = resources.move();
  return {
    nodes,
    /** All of them in one text, as `AMQP_URL` takes it. */
    url: nodes.map(({ url }) => url).join(","),
    /** Asks with one of the package's programs, through the node; answers with what it printed. */
    ask: (node: RabbitNode, program: string, ...args: string[]) => askNode(node.name, env, program, ...args),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function requirePrograms(): Promise<void> {
  const server = join(SERVICES_ROOT, PROGRAMS, "rabbitmq-server");
  const isThere = await Deno.stat(server).then(() => true, () => false);
  if (!isThere) {
    throw new Error(
      `This test needs the programs of RabbitMQ, and there is no ${server}. On Debian: apt-get install ` +
        "rabbitmq-server. Elsewhere name their folder in RABBITMQ_PROGRAMS.",
    );
  }
}

/** As in docker-compose.yml, but for the names and a log of writes that suits a test. */
function configuration(names: readonly string[]): string {
  return [
    "cluster_formation.peer_discovery_backend = classic_config",
    ...names.map((name, i) => `cluster_formation.classic_config.nodes.${i + 1} = ${name}`),
    "cluster_partition_handling = pause_minority",
    "queue_leader_locator = balanced",
    "raft.wal_max_size_bytes = 33554432",
    "disk_free_limit.absolute = 50MB",
    "log.console = false",
  ].join("\n");
}

/** Starts an `epmd` of the cluster's own, by which nodes find one another's ports; answers with everyone's environment. */
async function startNameServer(
  home: string,
  resources: AsyncDisposableStack,
): Promise<Record<string, string>> {
  const port = freePort("127.0.0.1");
  const env = {
    PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
    HOME: home,
    LC_ALL: "C.UTF-8",
    ERL_EPMD_PORT: String(port),
    ERL_EPMD_ADDRESS: "127.0.0.1",
    ERL_CRASH_DUMP_SECONDS: "0",
    RABBITMQ_CONF_ENV_FILE: "/dev/null", // not the installed server's
    RABBITMQ_CONFIG_FILE: join(home, "rabbitmq.conf"),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(home, "enabled_plugins"),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: "-kernel inet_dist_use_interface {127,0,0,1}",
    RABBITMQ_CTL_ERL_ARGS: "-kernel inet_dist_use_interface {127,0,0,1}",
    RUNNING_UNDER_SYSTEMD: "true", // the script becomes the server, so that the process is the node
  };
  const epmd = spawn("epmd", [], env);
  resources.defer(async () => {
    epmd.kill("SIGKILL");
    await epmd.status;
  });
  await listening("epmd", port);
  return env;
}

function nodeOf(name: string, others: readonly string[], home: string, env: Record<string, string>) {
  const port = freePort("127.0.0.1");
  const url = `amqp://guest:guest@127.0.0.1:${port}`;
  const own = {
    RABBITMQ_NODENAME: name,
    RABBITMQ_NODE_IP_ADDRESS: "127.0.0.1",
    RABBITMQ_NODE_PORT: String(port),
    RABBITMQ_DIST_PORT: String(freePort("127.0.0.1")),
    RABBITMQ_MNESIA_BASE: join(home, name),
    RABBITMQ_LOG_BASE: join(home, "log"),
    RABBITMQ_PID_FILE: join(home, `${name}.pid`),
  };
  const { start, end } = createServer({
    name: `Node ${name}`,
    log: join(SERVICES_ROOT, home, "log", `${name}.log`),
    spawn: () => spawn(join(PROGRAMS, "rabbitmq-server"), [], { ...env, ...own }),
    async isUp() { // a client can log in
      const connection = await connect(url, { timeout: 2000 });
      connection.on("error", () => {});
      await connection.close();
    },
  });
  return {
    name,
    port,
    url,
    /** Starts it on the data that it has. */
    start,
    /** Stops it as a service manager does, with SIGTERM. */
    stop: () => end("SIGTERM"),
    kill: () => end("SIGKILL"),
    /**
     * Has this node and the others refuse to hear one another, while all run and take clients; or hear again. It is done by
     * the cookie that it expects of them (https://www.erlang.org/doc/apps/erts/erlang#set_cookie/2).
     */
    async partition(isApart: boolean): Promise<void> {
      const cookie = isApart ? "apart" : "erlang:get_cookie()";
      const each = others.map((other) => `'${other}'`).join();
      const code =
        `[begin erlang:set_cookie(N, ${cookie}), erlang:disconnect_node(N) end || N <- [${each}]].`;
      await askNode(name, env, "rabbitmqctl", "eval", code);
    },
  };
}

function askNode(name: string, env: Record<string, string>, program: string, ...args: string[]) {
  return runProgram(join(PROGRAMS, program), ["-q", "-n", name, ...args], { env });
}

function spawn(program: string, args: readonly string[], env: Record<string, string>): Deno.ChildProcess {
  const output = Deno.env.get("ORDERFLOW_TEST_LOGS") ? "inherit" : "null";
  return programOf(program, args, { env, stdin: "null", stdout: output, stderr: output }).spawn();
}
