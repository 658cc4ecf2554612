import { types } from 'util';
import { safeLine, safeText } from './output';

/** When a message was sent: ISO text over REST, `{$date}` by mongoexport, a `Date` of a participant. */
export function timeOf(message: Readonly<Record<string, unknown>>): Date | undefined {
  const { ts } = message;
  const value = types.isDate(ts) ? ts.getTime() : ((Object(ts) as { $date?: unknown }).$date ?? ts);
  if (typeof value !== 'string' && typeof value !== 'number') return undefined;
  const time = new Date(value);
  return Number.isNaN(time.getTime()) ? undefined : time;
}

/** Whom a message is from, as far as it says. */
export function senderOf(message: Readonly<Record<string, unknown>>): string {
  const { username, name } = Object(message.u) as { username?: unknown; name?: unknown };
  return String([username, name, message.username].find((one) => typeof one === 'string') ?? '?');
}

/**
 * A message as people read it: time in UTC, sender, text. Further lines of a text are indented, so
 * that none can pass for another message.
 */
export function lineOf(
  message: Readonly<Record<string, unknown>>,
  unreadable?: { readonly code: string; readonly keyId?: string },
): string {
  const time = timeOf(message)?.toISOString().slice(0, 19).replace('T', ' ') ?? '-'.repeat(19);
  const what = unreadable
    ? `[not readable: ${unreadable.code}${unreadable.keyId ? `, key ${safeLine(unreadable.keyId)}` : ''}]`
    : bodyOf(message);
  return `${time}  ${safeLine(senderOf(message))}: ${what}`;
}

function bodyOf(message: Readonly<Record<string, unknown>>): string {
  const text = safeText(message.msg).replace(/\n/g, '\n    ');
  const { attachments, t } = message;
  const files = (Array.isArray(attachments) ? attachments : [])
    .map((attachment) => (Object(attachment) as { title?: unknown }).title)
    .filter((title) => typeof title === 'string')
    .map((title) => `[file ${safeLine(title)}]`);
  const system = typeof t === 'string' && t !== 'e2e' ? [`[${safeLine(t)}]`] : [];
  return [...system, ...(text === '' ? [] : [text]), ...files].join(' ');
}
