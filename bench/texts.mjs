// What people write, made up by a seed.

const WORDS =
  'Der Zug nach München fährt um zehn – kommst du? yes, see you at the station, "platform 4" 🚆 ' +
  'please bring the charger and the\nblue folder; the draft is at https://example.org/a?b=c&d=e ' +
  'ok thanks 日本語もあります \\o/ let us meet at noon, then. ¿Qué tal? bien, gracias ';

/** Numbers from 0 to 1 that are the same in each run. */
export function draws(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** ASCII text of so many characters, as most of what is written to bots is. */
export function ascii(length, number) {
  const text = `#${number} please look at build 4711: it failed on arm64, "ld: not found"\n`;
  return text.repeat(Math.ceil(length / text.length)).slice(0, length);
}

/** Text of all sorts, from a few characters to some thousands. */
export function mixed(draw) {
  const length = Math.floor(4 + 4000 * draw() ** 6);
  const start = Math.floor(draw() * WORDS.length);
  return [...WORDS.repeat(20)].slice(start, start + length).join('');
}
