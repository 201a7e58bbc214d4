// Every process has a task in deno.json and a service in docker-compose.yml, which run it as `deno task dev` does, and
// its container is closed in as far as one can be.

import { assert, assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { z } from "zod";
import { databaseAddresses } from "../shared/process/database_url.ts";
import { brokerAddresses, denoArguments } from "../workers/dev/child.ts";
import { API, PROCESSES, WORKERS } from "../workers/dev/processes.ts";
import { runDeno } from "./support/run_task.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const read = (path: string) => Deno.readTextFileSync(`${ROOT}${path}`);

const config = z.object({
  tasks: z.record(z.string(), z.object({ command: z.string() })),
  permissions: z.record(z.string(), z.record(z.string(), z.unknown())),
}).parse(JSON.parse(read("deno.json")));

/** What the checks below look at; the merge keys of the file are resolved. */
const serviceSchema = z.object({
  image: z.string(),
  user: z.string(),
  restart: z.string(),
  profiles: z.array(z.string()).default([]),
  hostname: z.string().optional(),
  entrypoint: z.array(z.string()).default([]),
  command: z.array(z.string()).default([]),
  read_only: z.boolean().default(false),
  cap_drop: z.array(z.string()),
  security_opt: z.array(z.string()),
  deploy: z.object({ resources: z.object({ limits: z.object({ memory: z.string(), pids: z.number() }) }) }),
  stop_grace_period: z.string(),
  healthcheck: z.object({ test: z.array(z.string()), disable: z.boolean() }).partial(),
  environment: z.record(z.string(), z.string()).default({}),
  ports: z.array(z.string()).default([]),
  volumes: z.array(z.string()),
  depends_on: z.record(z.string(), z.unknown()).default({}),
});
const compose = z.object({
  services: z.record(z.string(), serviceSchema),
  configs: z.record(z.string(), z.object({ content: z.string() })),
}).parse(parse(read("docker-compose.yml"), { merge: true }));

/** They end once they have done their work, and the others wait for it. */
const ENDING = ["install", "page"];
/** Where the page's bundle is in the volume. */
const BUNDLE = "/deno-dir/page";

const services = Object.entries(compose.services);
const ours = services.filter(([, { profiles }]) => profiles.includes("app"));
const brokers = services.filter(([, { image }]) => image.startsWith("rabbitmq:"));

function service(name: string): z.infer<typeof serviceSchema> {
  const found = compose.services[name];
  assert(found, `docker-compose.yml has no service ${name}`);
  return found;
}

Deno.test("every worker has a task that runs its script under its permission set, and no task has no worker", () => {
  const found = Object.entries(config.tasks).filter(([name]) => name.startsWith("worker:"))
    .map(([name, { command }]) => [name, /-P=\S+/.exec(command)?.[0], command.split(" ").at(-1)]);
  const wanted = WORKERS.map((it) => [`worker:${it.name}`, `-P=${it.permissions}`, it.entry]);
  assertEquals(found.toSorted(), wanted.toSorted());
});

Deno.test("every process has a service that runs its script as deno task dev does, and install fetches its packages", () => {
  const names = ours.map(([name]) => name).filter((name) => !ENDING.includes(name));
  assertEquals(names.toSorted(), PROCESSES.map(({ name }) => name).toSorted());
  for (const process of PROCESSES) {
    const { entrypoint, command, depends_on } = service(process.name);
    // Packages come from the volume, and the network of a container is that of its permission set.
    const wanted = denoArguments(process, []).filter((argument) => !argument.startsWith("--allow-net"));
    const page = process.name === API.name ? [`--allow-read=${BUNDLE}`] : [];
    const given = ["deno", ...wanted, "--node-modules-dir=none", ...page];
    assertEquals([...entrypoint, ...command].toSorted(), given.toSorted(), process.name);
    assertEquals(command.at(-1), process.entry, "the script comes last");
    const prepared = process.name === API.name ? "page" : "install";
    assertEquals(Object.keys(depends_on), [prepared, "postgres", "rabbitmq"], process.name);
  }
  const entries = PROCESSES.map(({ entry }) => entry);
  assertEquals(service("install").command, [...entries, "ui/bundle.ts", "ui/island.tsx"]);
});

Deno.test("the page is bundled out of Deno's cache alone: nothing is taken from a node_modules of this machine", async () => {
  const { entrypoint: [, ...options], command, environment } = service("page");
  const project = await Deno.makeTempDir({ prefix: "orderflow_compose_" });
  try {
    await Deno.mkdir(`${project}/specs/support`, { recursive: true });
    for (const path of ["deno.json", "deno.lock", "ui", "shared", "specs/support/std_assert"]) {
      const cp = new Deno.Command("cp", { args: ["-R", path, `${project}/${path}`], cwd: ROOT });
      assert((await cp.output()).success, path);
    }
    const info = JSON.parse((await runDeno(["info", "--json"])).out);
    const { denoDir } = z.object({ denoDir: z.string() }).parse(info);
    const here = (argument: string) =>
      argument.replace(BUNDLE, `${project}/page`).replace(/\/deno-dir$/, denoDir);
    const args = [...options, ...command].map(here);
    const { code, err } = await runDeno(args, { cwd: project, env: environment });
    assertEquals(code, 0, err);
    const files = [...Deno.readDirSync(`${project}/page`)].map(({ name }) => name.replace(/-\w{8}\./, "."));
    assertEquals(files.toSorted(), ["assets.json", "docs", "island.js", "styles.css"]);
  } finally {
    await Deno.remove(project, { recursive: true });
  }
});

Deno.test("every container runs as a user without rights, restarts by itself, and is limited in all that it may take", () => {
  for (const [name, it] of services) {
    assertEquals([it.cap_drop, it.security_opt], [["ALL"], ["no-new-privileges:true"]], name);
    assert(!["root", "0"].includes(it.user), `${name} runs as root`);
    assertEquals(it.restart, ENDING.includes(name) ? "no" : "unless-stopped", name);
    assert(it.deploy.resources.limits.pids > 0, name);
    const open = it.ports.filter((port) => !port.startsWith("127.0.0.1:"));
    assertEquals(open, [], `${name} is open beyond loopback`);
  }
  for (const [name, it] of ours) {
    assert(it.read_only, `${name} can write to its root`);
    const cache = ENDING.includes(name) ? "deno:/deno-dir" : "deno:/deno-dir:ro";
    assertEquals(it.volumes, [".:/app:ro", cache], name);
    // Else Deno would look for all of deno.lock, the embedded PostgreSQL among it.
    assertEquals(it.environment.DENO_UNSTABLE_NPM_LAZY_CACHING, "1", name);
    // V8's heap may take 256 MiB of it.
    assert(Number.parseInt(it.deploy.resources.limits.memory) >= 512, `${name} has too little memory`);
    assert(Number.parseInt(it.stop_grace_period) > 5, `${name} is killed before it has finished its batch`);
  }
});

Deno.test("the health check of a process says whether its port answers that it is well", async () => {
  for (const [name, { healthcheck }] of services) {
    assert(healthcheck.disable === ENDING.includes(name) || healthcheck.test, `${name} has no health check`);
  }
  let status = 200;
  const answer = () => new Response(null, { status });
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, answer);
  const checks = PROCESSES.map(({ name }) => {
    const { healthcheck, environment } = service(name);
    const own = `http://127.0.0.1:${name === API.name ? environment.PORT : environment.METRICS_PORT}/`;
    const [cmd, program, ...args] = healthcheck.test ?? [];
    assertEquals([cmd, program, args.at(-1)?.includes(own)], ["CMD", "deno", true], name);
    return args.map((argument) => argument.replace(own, `http://127.0.0.1:${server.addr.port}/`));
  });
  const different = [...new Map(checks.map((args) => [args.join(" "), args])).values()];
  const all = async () =>
    new Set(await Promise.all(different.map(async (args) => (await runDeno(args)).code === 0)));
  assertEquals(await all(), new Set([true]));
  status = 503;
  assertEquals(await all(), new Set([false]), "well although the process says that it is not");
  await server.shutdown();
  assertEquals(await all(), new Set([false]), "well although nobody answers");
});

Deno.test("the permission sets let a process reach the services of the file, the cluster's nodes among them", () => {
  const { DATABASE_URL = "", AMQP_URL = "" } = service("outbox-relay").environment;
  const [, amqpUrl = ""] = /^\$\{APP_AMQP_URL:-(.*)\}$/.exec(AMQP_URL) ?? [];
  const needed = [...databaseAddresses(DATABASE_URL), ...brokers.map(([name]) => `${name}:5672`)];
  assertEquals(brokerAddresses(amqpUrl).filter((address) => !needed.includes(address)), []);
  for (const { name, permissions: set } of PROCESSES) {
    const net = config.permissions[set]?.net;
    assert(Array.isArray(net), `${set} may reach any host`);
    assertEquals(needed.filter((address) => !net.includes(address)), [], `${name} cannot reach them`);
  }
});

Deno.test("the profile cluster makes three nodes of RabbitMQ that know one another, each with data of its own", () => {
  const names = ["rabbitmq", "rabbitmq-2", "rabbitmq-3"];
  const nodes = brokers.map(([name, { hostname, profiles, volumes }]) => [name, hostname, profiles, volumes]);
  const wanted = names.map((name, i) => {
    return [name, name, i > 0 ? ["cluster"] : [], [`${name}:/var/lib/rabbitmq`]];
  });
  assertEquals(nodes, wanted);
  const cookies = brokers.map(([, { environment }]) => environment.RABBITMQ_ERLANG_COOKIE);
  const ports = brokers.flatMap(([, { ports }]) => ports);
  assertEquals([new Set(cookies).size, new Set(ports).size], [1, ports.length], "two nodes share a port");
  const peers = [...(compose.configs["rabbitmq-peers"]?.content ?? "").matchAll(/nodes\.\d = (.*)/g)];
  assertEquals(peers.map(([, node]) => node), names.map((name) => `rabbit@${name}`));
});
