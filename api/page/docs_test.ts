import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { fileURLToPath } from "node:url";
import { testApp, testBundle } from "../../specs/support/test_app.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";

shareTestSchema();

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** A bundle with the reference in it, out of the files that are copied there. */
async function referenceBundle() {
  const bundle = await testBundle();
  const copied = {
    "ui/reference": ["index.html", "reference.js"],
    "node_modules/swagger-ui-dist": ["swagger-ui.css", "swagger-ui-bundle.js"],
  };
  for (const [from, names] of Object.entries(copied)) {
    for (const name of names) await Deno.copyFile(`${ROOT}${from}/${name}`, `${bundle.folder}/docs/${name}`);
  }
  return bundle;
}

Deno.test("GET /docs and all that it names come from this server, under a strict policy, for everyone", async () => {
  await using db = await testSchema();
  await using bundle = await referenceBundle();
  const access = { token: "a-token-of-sixteen", remoteAddress: () => "192.0.2.1" };
  const { app } = testApp(db, { bundle: bundle.folder, access, isSchemaReady: () => false });
  const response = await app.request("/docs");
  const page = await response.text();
  assertEquals([response.status, response.headers.get("content-type")], [200, "text/html; charset=utf-8"]);
  const policy = response.headers.get("content-security-policy") ?? "";
  assertStringIncludes(policy, "default-src 'none'; script-src 'self'; style-src 'self';");
  assert(!policy.includes("unsafe") && !policy.includes("http"), policy);
  assert(!/<script>|<style| style=| on\w+=/.test(page), "the policy lets nothing inline through");

  const named = [...page.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, url = ""]) => url);
  const files = named.filter((url) => !url.startsWith("data:"));
  assertEquals(files, ["/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/docs/reference.js"]);
  const script = await (await app.request("/docs/reference.js")).text();
  const described = /url: "([^"]+)"/.exec(script)?.[1] ?? "";
  for (const url of [...files, described]) {
    const answer = await app.request(url);
    const [, ending = ""] = url.split(".");
    const type = { css: "text/css", json: "application/json", js: "text/javascript" }[ending];
    assertEquals([answer.status, answer.headers.get("content-type")?.split(";")[0]], [200, type], url);
    await answer.body?.cancel();
  }
});

Deno.test("a file of the reference that has not changed is not sent again, and nothing else is served", async () => {
  await using db = await testSchema();
  await using bundle = await referenceBundle();
  const { app } = testApp(db, { bundle: bundle.folder });
  const first = await app.request("/docs/swagger-ui-bundle.js");
  assertEquals([first.headers.get("cache-control"), (await first.text()).length > 1e6], ["no-cache", true]);
  const headers = { "if-none-match": first.headers.get("etag") ?? "" };
  assertEquals((await app.request("/docs/swagger-ui-bundle.js", { headers })).status, 304);
  for (const name of ["none.js", "..%2fsecret.js", "%2e%2e%2fsecret.js"]) {
    assertEquals((await app.request(`/docs/${name}`)).status, 404, name);
  }
});

Deno.test("GET /docs says how to build the reference where it is missing", async () => {
  await using db = await testSchema();
  const response = await testApp(db).app.request("/docs");
  assertEquals(response.status, 503);
  assertStringIncludes(await response.text(), "deno task ui:bundle");
});
