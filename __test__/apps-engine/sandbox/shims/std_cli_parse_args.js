// Local stand-in for jsr:@std/cli/parse-args. Only what deno-runtime uses (--key value / --key=value / --flag).
export function parseArgs(args) {
  const out = { _: [] };
  for (let i = 0; i < args.length; i++) {
    const m = /^--([^=]+)(?:=(.*))?$/.exec(args[i]);
    if (!m) {
      out._.push(args[i]);
      continue;
    }
    let v = m[2];
    if (v === undefined && i + 1 < args.length && !args[i + 1].startsWith('--')) {
      v = args[++i];
    }
    out[m[1]] = v === undefined ? true : v !== '' && !Number.isNaN(Number(v)) ? Number(v) : v;
  }
  return out;
}
