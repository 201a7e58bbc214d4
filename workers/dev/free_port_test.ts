import { assert, assertEquals, assertThrows } from "@std/assert";
import { freePort, isPortFree } from "./free_port.ts";

Deno.test("isPortFree() is false while somebody listens", () => {
  const port = freePort("127.0.0.1");
  assert(isPortFree("127.0.0.1", port));
  {
    using _listener = Deno.listen({ hostname: "127.0.0.1", port });
    assertEquals(isPortFree("127.0.0.1", port), false);
    assertEquals(isPortFree("0.0.0.0", port), false);
  }
  assert(isPortFree("127.0.0.1", port));
});

Deno.test("isPortFree() throws for an address that is not this machine's", () => {
  assertThrows(() => isPortFree("192.0.2.1", 8000)); // TEST-NET-1, RFC 5737: nobody's
});
