// Local stand-in for jsr:@std/io (jsr.io is not reachable here). Only what deno-runtime uses.
export async function writeAll(writer, data) {
  let n = 0;
  while (n < data.length) {
    n += await writer.write(data.subarray(n));
  }
}
export function writeAllSync(writer, data) {
  let n = 0;
  while (n < data.length) {
    n += writer.writeSync(data.subarray(n));
  }
}
