import { assertEquals } from "@std/assert";
import { createLineSplitter, createPrinter, prefixes } from "./print_lines.ts";

Deno.test("createLineSplitter() gives whole lines, however the text was cut", () => {
  const splitter = createLineSplitter();
  assertEquals(splitter.push("one\ntw"), ["one"]);
  assertEquals(splitter.push("o\r\n\nthree"), ["two", ""]);
  assertEquals(splitter.rest(), ["three"]);
  assertEquals(splitter.rest(), []);
});

Deno.test("createLineSplitter() cuts what is longer than its limit, with or without a line end", () => {
  const splitter = createLineSplitter(4);
  assertEquals(splitter.push("abcdefghij"), ["abcd", "efgh"]);
  assertEquals(splitter.push("k\nabcde\n"), ["ijk", "abcd", "e"]);
  assertEquals(splitter.rest(), []);
});

Deno.test("prefixes() pads to the longest name, and colours only when told to", () => {
  const plain = prefixes(["api", "outbox-relay"], false);
  assertEquals(plain("api"), "api          | ");
  const coloured = prefixes(["api", "outbox-relay"], true);
  assertEquals(coloured("api"), "\x1b[36mapi          | \x1b[0m");
  assertEquals(coloured("outbox-relay"), "\x1b[33moutbox-relay | \x1b[0m");
});

Deno.test("createPrinter() never mixes the lines of two streams, nor breaks a character in two", async () => {
  const written: string[] = [];
  const printer = createPrinter(["a", "b"], false, async (bytes) => {
    await Promise.resolve();
    written.push(new TextDecoder().decode(bytes));
  });
  const [euro, rest] = [
    new TextEncoder().encode("5 €").slice(0, 4),
    new TextEncoder().encode("5 €").slice(4),
  ];
  const chunks = (...parts: (string | Uint8Array)[]) =>
    ReadableStream.from(
      parts.map((part) => typeof part === "string" ? new TextEncoder().encode(part) : part),
    );
  await Promise.all([
    printer.stream("a", chunks("first ", "half\nsec", "ond\n")),
    printer.stream("b", chunks(euro, rest, "\nno line end")),
  ]);
  await printer.line("a", "two\nlines");
  const lines = written.join("").split("\n");
  assertEquals(lines.filter((line) => line.startsWith("a")), [
    "a | first half",
    "a | second",
    "a | two",
    "a | lines",
  ]);
  assertEquals(lines.filter((line) => line.startsWith("b")), ["b | 5 €", "b | no line end"]);
  assertEquals(lines.length, 7);
});
