// Calls between two processes, both ways, over Node's own channel with structured clones.

function connect(peer, answer) {
  const waiting = new Map();
  let calls = 0;
  peer.on('message', async (message) => {
    if (message.answer !== undefined) {
      const [resolve, reject] = waiting.get(message.answer) ?? [];
      waiting.delete(message.answer);
      if (message.error === undefined) resolve?.(message.ok);
      else reject?.(new Error(message.error));
      return;
    }
    try {
      const ok = await answer(message.method ?? '', message.parameters ?? []);
      peer.send?.({ answer: message.call, ok });
    } catch (error) {
      const { message: text } = Object(error);
      peer.send?.({ answer: message.call, error: String(text ?? JSON.stringify(error)) });
    }
  });
  return (method, parameters) =>
    new Promise((resolve, reject) => {
      const call = ++calls;
      waiting.set(call, [resolve, reject]);
      // Functions cannot be sent, and nobody on the other side wants them.
      const plain = parameters.map(withoutFunctions);
      peer.send?.({ call, method, parameters: plain });
    });
}

function withoutFunctions(value) {
  if (typeof value === 'function') return undefined;
  if (Array.isArray(value)) return value.map(withoutFunctions);
  if (value === null || typeof value !== 'object') return value;
  if (value instanceof Date || ArrayBuffer.isView(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => [key, withoutFunctions(member)]),
  );
}

function serve(methods) {
  const ask = connect(process, (method, parameters) => {
    const called = methods[method];
    if (!called) throw new Error(`no method ${method}`);
    return called(...parameters);
  });
  process.on('disconnect', () => process.exit(0));
  return { ask };
}

module.exports = { connect, serve };
