import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { parseAnswer } from "./send_answer.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const answer = (lines: readonly string[], body = "") => bytes(`${[...lines, "", ""].join("\r\n")}${body}`);

Deno.test("an answer is there when its last byte is, and not before", () => {
  const whole = [
    answer(["HTTP/1.1 201 Created", "Content-Type: application/json", "content-length: 11"], '{"id":"é"}'),
    answer(
      ["HTTP/1.1 201", "Transfer-Encoding: chunked"],
      '4\r\n{"id\r\n6;ext=1\r\n":"\xe9"\r\n1\r\n}\r\n0\r\nx-sum: 1\r\n\r\n',
    ),
    answer(["HTTP/1.1 201 Created", "transfer-encoding: chunked"], 'b\r\n{"id":"é"}\r\n0\r\n\r\n'),
  ];
  for (const each of whole) {
    for (let length = 0; length < each.length; length++) {
      assertEquals(parseAnswer(each.subarray(0, length)), null, `after ${length} bytes`);
    }
    assertEquals(parseAnswer(each), { status: 201, body: '{"id":"é"}', closes: false });
  }
});

Deno.test("whatever the body and its chunks, it comes out as it went in", () => {
  fc.assert(fc.property(fc.array(fc.string({ minLength: 1, unit: "grapheme" })), (parts) => {
    const chunks = parts.map((part) => `${bytes(part).length.toString(16)}\r\n${part}\r\n`).join("");
    const body = parts.join("");
    const chunked = parseAnswer(
      answer(["HTTP/1.1 200 OK", "transfer-encoding: chunked"], `${chunks}0\r\n\r\n`),
    );
    const counted = parseAnswer(
      answer(["HTTP/1.1 200 OK", `content-length: ${bytes(body).length}`], body),
    );
    assertEquals(chunked, { status: 200, body, closes: false });
    assertEquals(counted, chunked);
  }));
});

Deno.test("an answer says whether its connection is closed", () => {
  const head = ["HTTP/1.1 503 Busy", "content-length: 0"];
  assertEquals(parseAnswer(answer([...head, "Connection: Close"])), { status: 503, body: "", closes: true });
  assertEquals(parseAnswer(answer([...head, "connection: keep-alive"]))?.closes, false);
});

Deno.test("what is no answer, or one of unclear length, is refused and not waited for", () => {
  const refused: readonly [Uint8Array, string][] = [
    [answer(["HTTP/1.0 200 OK", "content-length: 0"]), "is no status line"],
    [answer(["220 mail.example ESMTP"]), "is no status line"],
    [answer(["HTTP/1.1 100 Continue"]), "is no status line"],
    [answer(["HTTP/1.1 200 OK", "no header"]), "is no header"],
    [answer(["HTTP/1.1 200 OK"]), "length is unclear"],
    [answer(["HTTP/1.1 200 OK", "content-length: -1"]), "length is unclear"],
    [answer(["HTTP/1.1 200 OK", "content-length: 1", "content-length: 2"]), "length is unclear"],
    [answer(["HTTP/1.1 200 OK", "content-length: 1", "transfer-encoding: chunked"]), "length is unclear"],
    [answer(["HTTP/1.1 200 OK", "transfer-encoding: gzip, chunked"]), "length is unclear"],
    [answer(["HTTP/1.1 200 OK", "content-length: 1"], "ab"), "1 bytes follow"],
    [answer(["HTTP/1.1 200 OK", "transfer-encoding: chunked"], "zz\r\n"), "no size of a chunk"],
    [answer(["HTTP/1.1 200 OK", "transfer-encoding: chunked"], "0".repeat(101)), "no size of a chunk"],
    [answer(["HTTP/1.1 200 OK", "transfer-encoding: chunked"], "1\r\nabcd\r\n"), "is not 1 bytes long"],
    [answer(["HTTP/1.1 200 OK", "transfer-encoding: chunked"], "0\r\n\r\n!"), "1 bytes follow"],
  ];
  for (const [given, why] of refused) assertThrows(() => parseAnswer(given), Error, why);
});

Deno.test("no bytes make the parser fail in another way than by saying what is wrong", () => {
  const piece = fc.oneof(
    fc.constantFrom(
      "HTTP/1.1 200 OK\r\n",
      "content-length: 3\r\n",
      "transfer-encoding: chunked\r\n",
      "\r\n",
      "3\r\n",
    ),
    fc.string({ unit: "binary" }),
  );
  fc.assert(fc.property(fc.array(piece), (pieces) => {
    try {
      parseAnswer(bytes(pieces.join("")));
    } catch (error) {
      if (!(error instanceof Error) || error.constructor !== Error) throw error;
    }
  }));
});
