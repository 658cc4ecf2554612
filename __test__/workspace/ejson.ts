/** EJSON as far as DDP needs it: a Date is `{"$date": ms}` (protocol 4.1). */
export function toEjson(value: unknown): string {
  return JSON.stringify(escapeDates(value));
}

export function fromEjson(text: string): unknown {
  return JSON.parse(text, (_key, value: unknown) => {
    if (value !== null && typeof value === 'object' && '$date' in value) {
      const { $date } = value;
      if (Object.keys(value).length === 1 && typeof $date === 'number') return new Date($date);
    }
    return value;
  });
}

function escapeDates(value: unknown): unknown {
  if (value instanceof Date) return { $date: value.getTime() };
  if (Array.isArray(value)) return value.map(escapeDates);
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(
      Object.entries(value)
        .filter(([, member]) => member !== undefined)
        .map(([key, member]) => [key, escapeDates(member)]),
    );
  }
  return value;
}
