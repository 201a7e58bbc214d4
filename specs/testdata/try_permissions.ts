// For tests, under a permission set. The first argument says what to do:
//   everything NAME…   tries what no process may do, reading variables of these names among it, and prints what was let
//                      through. A connection that is let through fails, as nobody is there; what counts is why.
//   addresses PORT…    connects to these ports of 127.0.0.1, and prints those that it may connect to
//   variable NAME      prints a variable
const [task = "", ...args] = Deno.args;

const text = (name: string) => `https://${name}/x.ts`; // put together here: nothing is fetched ahead of time
const tries: Record<string, () => unknown> = {
  "read /etc/passwd": () => Deno.readTextFileSync("/etc/passwd"),
  "read the environment as a file": () => Deno.readTextFileSync("/proc/self/environ"),
  "read the project": () => Deno.readTextFileSync("deno.json"),
  "list a folder": () => [...Deno.readDirSync(".")],
  "leave ui/dist": () => Deno.readTextFileSync("ui/dist/../../.env"),
  write: () => Deno.writeTextFileSync("/dev/null", ""),
  "write the project": () => Deno.writeTextFileSync("ui/dist/x.js", ""),
  "make a temporary file": () => Deno.makeTempFileSync(),
  run: () => new Deno.Command("true").outputSync(),
  "send a signal": () => Deno.kill(Deno.ppid, "SIGURG"),
  "all variables": () => { // with some ignored, those that are allowed are shown
    const shown = Deno.env.toObject();
    if (!("HOME" in shown) && !("PATH" in shown)) throw new Deno.errors.NotCapable();
  },
  "set a variable": () => Deno.env.set("HOME", "/"),
  "the host's name": () => Deno.hostname(),
  "the user": () => Deno.uid(),
  "the network's cards": () => Deno.networkInterfaces(),
  ffi: () => Deno.dlopen("libc.so.6", {}).close(),
  net: () => Deno.connect({ hostname: "192.0.2.1", port: 5432 }), // TEST-NET-1, RFC 5737: nobody's
  "ask for it": () => fetch("http://192.0.2.1/"),
  "the machine's metadata": () => fetch("http://169.254.169.254/"),
  "look a name up": () => Deno.resolveDns("example.org", "A"),
  "listen to the network": () => Deno.listen({ hostname: "192.0.2.1", port: 0 }).close(),
  "a socket in the file system": () => Deno.connect({ transport: "unix", path: "/var/run/docker.sock" }),
  "code of another host": () => import(text("example.org")),
  "code of a host that Deno trusts": () => import(text("esm.sh")),
  ...Object.fromEntries(["HOME", ...args].map((name) => [name, () => Deno.env.get(name)])),
};

/** The names of those that were not refused, each with what went wrong otherwise. */
async function allowedOf(attempts: Record<string, () => unknown>) {
  const allowed: [name: string, error?: unknown][] = [];
  for (const [name, attempt] of Object.entries(attempts)) {
    try {
      await attempt();
      allowed.push([name]);
    } catch (error) {
      const isRefused = error instanceof Deno.errors.NotCapable ||
        /Requires import access/.test(String(error));
      if (!isRefused) allowed.push([name, error]);
    }
  }
  return allowed;
}

if (task === "variable") {
  console.log(Deno.env.get(args[0] ?? "") ?? "unset");
} else if (task === "addresses") {
  const connect = async (port: number) => (await Deno.connect({ hostname: "127.0.0.1", port })).close();
  const connecting = Object.fromEntries(args.map((port) => [port, () => connect(Number(port))]));
  console.log(JSON.stringify((await allowedOf(connecting)).map(([port]) => port)));
} else {
  console.log(JSON.stringify((await allowedOf(tries)).map((found) => found.join(": "))));
}
