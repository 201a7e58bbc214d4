/**
 * docker-compose.yml runs every process as `deno task dev` does, and closed in as far as containers can be.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { z } from "zod";
import { brokerUrls } from "../shared/broker/connection.ts";
import { addressOf, denoArguments } from "../workers/dev/child.ts";
import { API, PROCESSES } from "../workers/dev/processes.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const read = (path: string) => Deno.readTextFileSync(`${ROOT}${path}`);

/** What the checks below look at; the merge keys of the file are resolved. */
const serviceSchema = z.object({
  image: z.string(),
  user: z.string(),
  restart: z.string(),
  profiles: z.array(z.string()).default([]),
  hostname: z.string().optional(),
  entrypoint: z.array(z.string()).default([]),
  command: z.array(z.string()).default([]),
  init: z.boolean().default(false),
  read_only: z.boolean().default(false),
  cap_drop: z.array(z.string()),
  security_opt: z.array(z.string()),
  logging: z.object({ options: z.object({ "max-size": z.string(), "max-file": z.string() }) }),
  deploy: z.object({
    resources: z.object({ limits: z.object({ cpus: z.string(), memory: z.string(), pids: z.number() }) }),
  }),
  stop_grace_period: z.string().regex(/^\d+s$/),
  healthcheck: z.object({ test: z.array(z.string()), disable: z.boolean() }).partial(),
  environment: z.record(z.string(), z.string()).default({}),
  configs: z.array(z.object({ source: z.string(), target: z.string() })).default([]),
  ports: z.array(z.string()).default([]),
  volumes: z.array(z.string()),
  depends_on: z.record(z.string(), z.unknown()).default({}),
});
type Service = z.infer<typeof serviceSchema>;

const compose = z.object({
  services: z.record(z.string(), serviceSchema),
  configs: z.record(z.string(), z.object({ content: z.string() })),
  volumes: z.record(z.string(), z.null()),
}).parse(parse(read("docker-compose.yml"), { merge: true }));

/** They end once they have done their work, and the others wait for it. */
const ENDING = ["install", "page"];
/** Where the page's bundle is in the volume. */
const BUNDLE = "/deno-dir/page";

const services = Object.entries(compose.services);
const ours = services.filter(([, { profiles }]) => profiles.includes("app"));
const brokers = services.filter(([, { image }]) => image.startsWith("rabbitmq:"));
const seconds = (text: string) => Number.parseInt(text);

function service(name: string): Service {
  const found = compose.services[name];
  assert(found, `docker-compose.yml has no service ${name}`);
  return found;
}

Deno.test("every process has a service that runs its script as deno task dev does, and install fetches its packages", () => {
  const names = ours.map(([name]) => name).filter((name) => !ENDING.includes(name));
  assertEquals(names.toSorted(), PROCESSES.map(({ name }) => name).toSorted());
  for (const process of PROCESSES) {
    const { entrypoint, command } = service(process.name);
    // Packages come from the volume, and the network of a container is that of its permission set.
    const wanted = denoArguments(process, []).filter((argument) => !argument.startsWith("--allow-net"));
    const page = process.name === API.name ? [`--allow-read=${BUNDLE}`] : [];
    const given = ["deno", ...wanted, "--node-modules-dir=none", ...page];
    assertEquals([...entrypoint, ...command].toSorted(), given.toSorted(), process.name);
    assertEquals(command.at(-1), process.entry, "the script comes last");
  }
  assertEquals(service(API.name).environment["UI_BUNDLE_DIR"], BUNDLE);
  const entries = PROCESSES.map(({ entry }) => entry);
  assertEquals(service("install").command, [...entries, "ui/bundle_main.ts", "ui/island.tsx"]);
});

Deno.test("the page is bundled out of Deno's cache alone: nothing is taken from a node_modules of this machine", async () => {
  const { entrypoint: [deno, ...options], command, environment } = service("page");
  assertEquals(deno, "deno");
  const project = await Deno.makeTempDir({ prefix: "orderflow_compose_" });
  try {
    await Deno.mkdir(`${project}/specs/support`, { recursive: true });
    for (const path of ["deno.json", "deno.lock", "ui", "shared", "specs/support/std_assert"]) {
      const cp = new Deno.Command("cp", { args: ["-R", path, `${project}/${path}`], cwd: ROOT });
      assert((await cp.output()).success, path);
    }
    const { stdout: info } = await new Deno.Command(Deno.execPath(), { args: ["info", "--json"] }).output();
    const { denoDir } = z.object({ denoDir: z.string() }).parse(JSON.parse(new TextDecoder().decode(info)));
    const here = (argument: string) =>
      argument.replace(BUNDLE, `${project}/page`).replace(/\/deno-dir$/, denoDir);
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [...options, ...command].map(here),
      cwd: project,
      env: environment,
    }).output();
    assert(success, new TextDecoder().decode(stderr));
    const files = Array.from(
      Deno.readDirSync(`${project}/page`),
      ({ name }) => name.replace(/-\w{8}\./, "."),
    );
    assertEquals(files.toSorted(), ["assets.json", "docs", "island.js", "styles.css"]);
    assertEquals(Array.from(Deno.readDirSync(`${project}/page/docs`)).length, 4);
  } finally {
    await Deno.remove(project, { recursive: true });
  }
});

Deno.test("every container runs as a user without rights, restarts by itself, and is limited in all that it may take", () => {
  for (const [name, it] of services) {
    assertEquals(it.cap_drop, ["ALL"], name);
    assertEquals(it.security_opt, ["no-new-privileges:true"], name);
    assert(!["root", "0"].includes(it.user), `${name} runs as root`);
    assertEquals(it.restart, ENDING.includes(name) ? "no" : "unless-stopped", name);
    assert(it.deploy.resources.limits.pids > 0 && Number(it.deploy.resources.limits.cpus) > 0, name);
    for (const port of it.ports) {
      assert(port.startsWith("127.0.0.1:"), `${name} is open beyond loopback: ${port}`);
    }
  }
  for (const [name, it] of ours) {
    assert(
      it.read_only && it.init,
      `${name} can write to its root, or has nobody who reaps its health checks`,
    );
    assertEquals(
      it.volumes,
      [".:/app:ro", ENDING.includes(name) ? "deno:/deno-dir" : "deno:/deno-dir:ro"],
      name,
    );
    // Else Deno would look for all of deno.lock, the embedded PostgreSQL among it.
    assertEquals(it.environment.DENO_UNSTABLE_NPM_LAZY_CACHING, "1", name);
    // V8's heap may take 256 MiB of it, see child_command.ts.
    assert(
      Number.parseInt(it.deploy.resources.limits.memory) >= 512,
      `${name} has too little memory for its heap`,
    );
    assert(seconds(it.stop_grace_period) > 5, `${name} is killed before it has finished its batch`);
  }
});

Deno.test("every container that stays has a health check, and nobody starts before what it needs is healthy", () => {
  for (const [name, { healthcheck, depends_on }] of services) {
    if (ENDING.includes(name)) assertEquals(healthcheck, { disable: true });
    else assert((healthcheck.test ?? []).length > 1, `${name} has no health check`);
    const isOurs = ours.some(([our]) => our === name) && !ENDING.includes(name);
    const prepared = name === API.name ? "page" : "install";
    if (isOurs) assertEquals(Object.keys(depends_on), [prepared, "postgres", "rabbitmq"], name);
  }
  assertEquals(Object.keys(service("page").depends_on), ["install"]);
});

Deno.test("the health check of a process says whether its port answers that it is well", async () => {
  for (const { name } of PROCESSES) {
    const { healthcheck, environment } = service(name);
    const [cmd, deno, ...args] = healthcheck.test ?? [];
    const port = name === API.name ? environment.PORT : environment.METRICS_PORT;
    assertEquals([cmd, deno], ["CMD", "deno"], name);
    assert(
      args.at(-1)?.includes(`http://127.0.0.1:${port}/`),
      `${name} is not asked on its own port ${port}`,
    );
  }
  let status = 200;
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    () => new Response(null, { status }),
  );
  // The same command for all but the API, so one of each is tried.
  const checks = [API.name, "outbox-relay"].map((name) => async () => {
    const args = (service(name).healthcheck.test ?? []).slice(2)
      .map((argument) => argument.replace(/127\.0\.0\.1:\d+/, `127.0.0.1:${server.addr.port}`));
    return (await new Deno.Command(Deno.execPath(), { args, stdout: "null", stderr: "null" }).output())
      .success;
  });
  const all = () => Promise.all(checks.map((check) => check()));
  assertEquals(await all(), [true, true]);
  status = 503;
  assertEquals(await all(), [false, false], "well although the process says that it is not");
  await server.shutdown();
  assertEquals(await all(), [false, false], "well although nobody answers");
});

Deno.test("the permission sets let a process reach the services of the file, the cluster's nodes among them", () => {
  const { permissions } = z.object({
    permissions: z.record(
      z.string(),
      z.object({ net: z.union([z.boolean(), z.array(z.string())]).optional() }),
    ),
  }).parse(JSON.parse(read("deno.json")));
  const { DATABASE_URL = "", AMQP_URL = "" } = service("outbox-relay").environment;
  const [, amqpUrl = ""] = /^\$\{APP_AMQP_URL:-(.*)\}$/.exec(AMQP_URL) ?? [];
  const needed = [addressOf(DATABASE_URL), ...brokers.map(([name]) => `${name}:5672`)];
  assertEquals(brokerUrls(amqpUrl).map(addressOf).filter((address) => !needed.includes(address)), []);
  for (const { name, permissions: set } of PROCESSES) {
    const net = permissions[set]?.net;
    assert(Array.isArray(net), `${set} may reach any host`);
    assertEquals(needed.filter((address) => !net.includes(address)), [], `${name} cannot reach them`);
  }
});

Deno.test("the profile cluster makes three nodes of RabbitMQ that know one another, each with data of its own", () => {
  const names = ["rabbitmq", "rabbitmq-2", "rabbitmq-3"];
  assertEquals(
    brokers.map(([name, { profiles }]) => [name, ...profiles]),
    names.map((name, i) => {
      return i === 0 ? [name] : [name, "cluster"];
    }),
  );
  for (const [name, { hostname, volumes, configs }] of brokers) {
    assertEquals([hostname, volumes], [name, [`${name}:/var/lib/rabbitmq`]]);
    assert(name in compose.volumes, `the volume ${name} is not declared`);
    const sources = name === "rabbitmq" ? ["rabbitmq"] : ["rabbitmq", "rabbitmq-peers"];
    assertEquals(configs.map(({ source }) => source), sources);
  }
  const cookies = brokers.map(([, { environment }]) => environment.RABBITMQ_ERLANG_COOKIE);
  const ports = brokers.flatMap(([, { ports }]) => ports);
  assertEquals([new Set(cookies).size, new Set(ports).size], [1, ports.length], "two nodes share a port");
  const peers = [...(compose.configs["rabbitmq-peers"]?.content ?? "").matchAll(/nodes\.\d = (.*)/g)];
  assertEquals(peers.map(([, node]) => node), names.map((name) => `rabbit@${name}`));
});
