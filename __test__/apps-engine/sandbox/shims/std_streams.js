// Local stand-in for jsr:@std/streams. Only what deno-runtime uses.
export async function toArrayBuffer(readable) {
  return await new Response(readable).arrayBuffer();
}
