import { types } from 'util';
import { E2eeError, kindOf } from './errors';

/**
 * JavaScript values to and from the EJSON text that the core reads and writes (protocol §6):
 * `Date`, bytes, NaN and the infinities have forms of their own, and objects that look like one
 * of those forms are escaped.
 */

/** The core refuses more than 128 levels. */
const MAX_DEPTH = 120;

/** Writes EJSON text. */
export function toEjson(value: unknown): string {
  return JSON.stringify(encode(value, 0));
}

/** Reads EJSON text of the core. */
export function fromEjson(text: string): unknown {
  const value: unknown = JSON.parse(text);
  // Most content has neither tags nor the one key that would change an object's prototype.
  return text.includes('"$') || text.includes('"__proto__"') ? decode(value) : value;
}

function encode(value: unknown, depth: number): unknown {
  if (depth > MAX_DEPTH) {
    throw invalid('it is nested too deep, or in a circle');
  }
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value;
    case 'number':
      if (Number.isFinite(value)) return value;
      return { $InfNaN: Number.isNaN(value) ? 0 : Math.sign(value) };
    case 'object':
      return value === null ? null : encodeObject(value, depth);
    default:
      throw invalid(`it holds a ${typeof value}`);
  }
}

function encodeObject(value: object, depth: number): unknown {
  if (types.isDate(value)) {
    const milliseconds = value.getTime();
    if (Number.isNaN(milliseconds)) throw invalid('it holds an invalid Date');
    return { $date: milliseconds };
  }
  if (types.isAnyArrayBuffer(value)) {
    return { $binary: Buffer.from(value).toString('base64') };
  }
  if (ArrayBuffer.isView(value)) {
    const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    return { $binary: bytes.toString('base64') };
  }
  if (Array.isArray(value)) {
    return value.map((item) => encode(item === undefined ? null : item, depth + 1));
  }
  // Without a prototype, so that a member named __proto__ is a member.
  const members: Record<string, unknown> = Object.create(null);
  let special = false;
  for (const [key, member] of Object.entries(value)) {
    if (member === undefined) continue;
    members[key] = encode(member, depth + 1);
    special ||= key.startsWith('$');
  }
  // More than needs to be; the core drops what is not needed.
  return special ? { $escape: members } : members;
}

function decode(value: unknown): unknown {
  if (Array.isArray(value)) {
    return value.map(decode);
  }
  if (typeof value !== 'object' || value === null) {
    return value;
  }
  const members = value as Record<string, unknown>;
  const keys = Object.keys(members);
  if (keys.length === 1) {
    switch (keys[0]) {
      case '$date':
        return new Date(members.$date as number);
      case '$binary':
        return new Uint8Array(Buffer.from(members.$binary as string, 'base64'));
      case '$InfNaN':
        return members.$InfNaN === 0 ? Number.NaN : (members.$InfNaN as number) / 0;
      case '$escape':
        return decodeMembers(members.$escape as Record<string, unknown>);
    }
  }
  return decodeMembers(members);
}

/** A hostile sender's `__proto__` is left out: copying it would change the copy's prototype. */
function decodeMembers(members: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(members)
      .filter(([key]) => key !== '__proto__')
      .map(([key, member]) => [key, decode(member)]),
  );
}

function invalid(reason: string): E2eeError {
  return new E2eeError('ERR_E2EE_INVALID_ARGUMENT', `this cannot be encrypted: ${reason}`);
}

/** JSON text of something that a caller passed, or an error that says what it was. */
export function toJson(value: unknown, name: string): string {
  try {
    const text = JSON.stringify(value);
    if (text !== undefined) return text;
  } catch {
    // A circle or a BigInt: as useless as a missing value.
  }
  throw new E2eeError('ERR_E2EE_MALFORMED_ENVELOPE', `${name} cannot be ${kindOf(value)}`);
}

/** The core writes null for what is absent. */
export function withoutNulls<T extends object>(members: T): T {
  return Object.fromEntries(Object.entries(members).filter(([, member]) => member !== null)) as T;
}
