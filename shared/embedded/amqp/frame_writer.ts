import { type ByteWriter, reserve, writeBytes, writeUint16, writeUint64, writeUint8 } from "./byte_writer.ts";
import { FRAME, FRAME_END, FRAME_OVERHEAD } from "./frame_reader.ts";
import { type MethodArguments, writeMethod } from "./method_codec.ts";
import type { MethodName } from "./method_table.ts";

const BASIC_CLASS = 60;

/** What of a message goes over the wire after its method: raw properties (flags included) and the body's pieces. */
export type Content = {
  readonly properties: Uint8Array<ArrayBuffer>;
  readonly body: readonly Uint8Array<ArrayBuffer>[];
  readonly bodySize: number;
};

/** Writes a method frame. */
export function writeMethodFrame<N extends MethodName>(
  writer: ByteWriter,
  channel: number,
  name: N,
  args: MethodArguments<N>,
): void {
  const start = beginFrame(writer, FRAME.method, channel);
  writeMethod(writer, name, args);
  endFrame(writer, start);
}

/** Writes a content header frame and as many body frames of at most `frameMax` bytes as the body takes. */
export function writeContentFrames(
  writer: ByteWriter,
  channel: number,
  content: Content,
  frameMax: number,
): void {
  const start = beginFrame(writer, FRAME.header, channel);
  writeUint16(writer, BASIC_CLASS);
  writeUint16(writer, 0);
  writeUint64(writer, content.bodySize);
  writeBytes(writer, content.properties);
  endFrame(writer, start);
  const most = frameMax - FRAME_OVERHEAD;
  for (const piece of content.body) {
    for (let offset = 0; offset < piece.byteLength; offset += most) {
      const bodyStart = beginFrame(writer, FRAME.body, channel);
      writeBytes(writer, piece.byteLength <= most ? piece : piece.subarray(offset, offset + most));
      endFrame(writer, bodyStart);
    }
  }
}

/** Writes a heartbeat frame. */
export function writeHeartbeatFrame(writer: ByteWriter): void {
  endFrame(writer, beginFrame(writer, FRAME.heartbeat, 0));
}

function beginFrame(writer: ByteWriter, type: number, channel: number): number {
  writeUint8(writer, type);
  writeUint16(writer, channel);
  return reserve(writer, 4);
}

function endFrame(writer: ByteWriter, sizeAt: number): void {
  writer.view.setUint32(sizeAt, writer.at - sizeAt - 4);
  writeUint8(writer, FRAME_END);
}
