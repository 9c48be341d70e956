// One message of the live stream: `u32 n`, n bytes of JSON, then arrays. Arrays are views of the message, not copies.

const KINDS = { f4: Float32Array, u2: Uint16Array, u1: Uint8Array, i4: Int32Array };
const text = new TextDecoder();

export function decodeFrame(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(text.decode(new Uint8Array(buffer, 4, length)));
  const arrays = {};
  for (const { name, dtype, shape, offset } of head.arrays) {
    arrays[name] = new KINDS[dtype](
      buffer,
      offset,
      shape.reduce((product, side) => product * side, 1),
    );
  }
  return { head, arrays };
}
