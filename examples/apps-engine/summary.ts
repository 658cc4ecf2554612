import type { DecryptedMessage } from './rocketchat-e2ee';

const LONGEST = 120;
const SENTENCES = 3;
/** Too common to say what a talk is about. */
const COMMON = new Set(
  (
    'about after again also because been before being both could does doing down each every from have ' +
    'having here into just like more most much must only other over same should some such than that ' +
    'their them then there these they this those through under until very what when where which while ' +
    'will with would your'
  ).split(' '),
);

/** Who said how much, what it was about, and the lines that say most of that, as they stand. */
export function summaryOf(messages: ReadonlyArray<DecryptedMessage>): string {
  const said = messages
    .map(({ username, document }) => ({
      username: username || 'somebody',
      text: document.msg.trim(),
    }))
    .filter(({ text }) => text !== '' && !text.startsWith('!'))
    .reverse();
  if (said.length === 0) {
    return 'There is nothing to sum up yet.';
  }
  const people = countsOf(said.map(({ username }) => username));
  const words = countsOf(
    said.reduce<Array<string>>((all, { text }) => all.concat(wordsOf(text)), []),
  );
  const weightOf = (text: string) => {
    const distinct = new Set(wordsOf(text));
    return (
      [...distinct].reduce((sum, word) => sum + (words.get(word) || 0), 0) /
      Math.sqrt(distinct.size + 1)
    );
  };
  const chosen = new Set(
    [...said].sort((a, b) => weightOf(b.text) - weightOf(a.text)).slice(0, SENTENCES),
  );
  const topics = ranked(words)
    .filter(([, count]) => count > 1)
    .slice(0, 5);
  return [
    `${said.length} messages: ${ranked(people)
      .map(([name, count]) => `${name} ${count}`)
      .join(', ')}.`,
    ...(topics.length > 0 ? [`Often: ${topics.map(([word]) => word).join(', ')}.`] : []),
    ...said
      .filter((one) => chosen.has(one))
      .map(({ username, text }) => `- ${username}: ${shortened(text)}`),
  ].join('\n');
}

function wordsOf(text: string): Array<string> {
  return (text.toLowerCase().match(/[a-z\u00c0-\uffff]{4,}/g) || []).filter(
    (word) => !COMMON.has(word),
  );
}

function countsOf(items: ReadonlyArray<string>): Map<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) {
    counts.set(item, (counts.get(item) || 0) + 1);
  }
  return counts;
}

function ranked(counts: Map<string, number>): Array<[string, number]> {
  return [...counts].sort(([a, one], [b, other]) => other - one || (a < b ? -1 : 1));
}

function shortened(text: string): string {
  const line = text.replace(/\s+/g, ' ');
  return line.length > LONGEST ? `${line.slice(0, LONGEST - 1)}…` : line;
}
