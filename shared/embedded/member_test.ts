import { assert, assertEquals } from "@std/assert";
import { dirname, join } from "node:path";
import { z } from "zod";
import embedded from "./deno.json" with { type: "json" };

const folder = import.meta.dirname ?? "";

async function sources(path: string): Promise<string[]> {
  const found = await Array.fromAsync(Deno.readDir(path), ({ name, isDirectory }) => {
    if (isDirectory) return sources(join(path, name));
    return name.endsWith(".ts") ? [join(path, name)] : [];
  });
  return found.flat();
}

Deno.test("the folder can be copied elsewhere: it imports its own files, and what its deno.json lists", async () => {
  const listed = Object.keys(embedded.imports);
  for (const path of await sources(folder)) {
    for (
      const [, name = ""] of (await Deno.readTextFile(path)).matchAll(/^(?:import|\}) .*from "([^"]+)"/gm)
    ) {
      const isOwn = name.startsWith(".") && join(dirname(path), name).startsWith(`${folder}/`);
      assert(isOwn || name.startsWith("node:") || listed.includes(name), `${path} imports ${name}`);
    }
  }
});

Deno.test("what both the folder and the project around it need is one version", async () => {
  const text = await Deno.readTextFile(join(folder, "../../deno.json")).catch(() => '{ "imports": {} }');
  const { imports } = z.object({ imports: z.record(z.string(), z.string()) }).parse(JSON.parse(text));
  for (const [name, version] of Object.entries(embedded.imports)) {
    if (name in imports) assertEquals(version, imports[name], name);
  }
});
