// The results as a table, as docs/performance.md and as pictures.

import { readFileSync, writeFileSync } from 'node:fs';
import { duration, mebibytes } from './measure.mjs';

const times = (ratio) => `${ratio.toPrecision(3)}×`;

/** Whether each goal was reached: `ours` is to be so many times as fast as another peer. */
export function checked({ goals, peers }) {
  return goals.map(({ of, against, ratio }) => {
    const peer = peers.find(({ name }) => name === against);
    const reached = peer?.ratios[of] ?? Number.NaN;
    return { of, against, ratio, reached, ok: reached >= ratio };
  });
}

/** A goal and what was reached: times as fast, or times as long where slower is allowed. */
function inWords(ratio, reached) {
  return ratio < 1
    ? [`at most ${times(1 / ratio)} as long`, `${times(1 / reached)} as long`]
    : [`at least ${times(ratio)}`, times(reached)];
}

/** A job as text for a terminal. */
export function tableOf(result) {
  const lines = [result.name];
  for (const { name, time, low, high, ratios } of result.peers) {
    const spread = `${duration(low)} – ${duration(high)}`;
    lines.push(
      `  ${name.padEnd(30)} ${duration(time).padStart(9)}  ${spread.padEnd(22)} ${times(ratios.ours)}`,
    );
  }
  for (const { of, against, ratio, reached, ok } of checked(result)) {
    const [wanted, got] = inWords(ratio, reached);
    lines.push(`  ${ok ? 'reached' : 'MISSED '} ${of} against ${against}: ${got} (${wanted})`);
  }
  if (result.loopDelayP99 !== undefined) {
    lines.push(`  event loop held up, p99: ${result.loopDelayP99.toFixed(1)} ms`);
  }
  return `${lines.join('\n')}\n`;
}

const START = '<!-- made by `npm run bench` -->';
const END = '<!-- until here -->';

/** Puts the tables between the marks of a document. */
export function markdown(results, file) {
  const text = readFileSync(file, 'utf8');
  const [before, rest] = text.split(START);
  const after = rest.split(END)[1];
  writeFileSync(file, `${before}${START}\n\n${documentOf(results)}\n${END}${after}`);
}

function row(...cells) {
  return `| ${cells.join(' | ')} |`;
}

function documentOf(results) {
  const { date, node, openssl, cpu, cores, jobs, sizes, participant } = results;
  const lines = [
    `Measured on ${date}: ${cpu}, ${cores} shared cores, Node.js ${node} with OpenSSL ${openssl}.`,
    '',
    '### Goals',
    '',
    row('job', 'against', 'goal', 'measured'),
    '| --- | --- | --- | --- |',
  ];
  for (const job of jobs) {
    for (const { of, against, ratio, reached, ok } of checked(job)) {
      const name = of === 'ours' ? job.name : `${job.name}: ${of.replace('ours, ', '')}`;
      const [wanted, got] = inWords(ratio, reached);
      lines.push(row(name, against, wanted, `${ok ? '' : 'missed: '}**${got}**`));
    }
    if (job.loopDelayP99 !== undefined) {
      const delay = job.loopDelayP99;
      const ok = delay < 20;
      lines.push(
        row(
          job.name,
          'event loop delay, p99',
          'below 20 ms',
          `${ok ? '' : 'missed: '}${delay.toFixed(1)} ms`,
        ),
      );
    }
  }
  lines.push(
    '',
    '### Times',
    '',
    'For each message, key, identity or file: the median, and what lies between the tenths.',
    '',
  );
  lines.push(
    row('job', 'by', 'time', 'spread', 'as long as ours'),
    '| --- | --- | --- | --- | --- |',
  );
  for (const job of jobs) {
    for (const { name, time, low, high, ratios } of job.peers) {
      lines.push(
        row(
          job.name,
          name,
          duration(time),
          `${duration(low)} – ${duration(high)}`,
          times(ratios.ours),
        ),
      );
    }
  }
  const streamed = jobs.find((job) => job.streamMemory !== undefined);
  if (streamed) {
    const { hundredMegabytes, gigabyte } = streamed.streamMemory;
    lines.push(
      '',
      `While 100 MB stream through \`encryptFileStream\`, the process grows by ${mebibytes(hundredMegabytes)} at most; with 1 GB, by ${mebibytes(gigabyte)}.`,
    );
  }
  if (participant) lines.push('', ...participantLines(participant));
  lines.push('', '### Sizes', '', row('what', 'bytes'), '| --- | --- |');
  for (const { name, bytes } of sizes) lines.push(row(name, bytes.toLocaleString('en')));
  lines.push('');
  return lines.join('\n');
}

function participantLines({ decryptMessages, growth, live, idle }) {
  const lines = ['### The participant', ''];
  lines.push(
    `- \`decryptMessages\` of ${decryptMessages.count.toLocaleString('en')} mixed messages of ${decryptMessages.rooms} rooms: ${duration(decryptMessages.time)} each, with the message as the server has it going in and coming out.`,
    `- An idle bot of one room that follows a server: ${mebibytes(idle)} of resident memory, Node.js included (${mebibytes(live.bare)} without anything of ours).`,
    `- A live stream of ${live.rate.toLocaleString('en')} messages a second through \`RealtimeWorkspace\` for ${live.seconds} s: ${live.received.toLocaleString('en')} of ${live.sent.toLocaleString('en')} messages were told within that time and a second; event loop delay p50 ${live.p50.toFixed(1)} ms, p99 ${live.p99.toFixed(1)} ms, max ${live.max.toFixed(1)} ms; resident memory ${mebibytes(live.before)} before, ${mebibytes(live.after)} at most.`,
    '',
    row(
      'rooms',
      'old keys each',
      'open the store',
      'first message',
      'each further message',
      'memory',
    ),
    '| --- | --- | --- | --- | --- | --- |',
  );
  for (const point of growth) {
    lines.push(
      row(
        point.rooms.toLocaleString('en'),
        point.oldKeys,
        duration(point.open),
        duration(point.first),
        duration(point.each),
        mebibytes(point.memory),
      ),
    );
  }
  return lines;
}

/** The pictures of docs/: how fast, and how it grows. */
export function picture(results, folder) {
  writeFileSync(new URL('performance.svg', folder), bars(results));
  if (results.participant)
    writeFileSync(new URL('growth.svg', folder), curves(results.participant.growth));
}

const STYLE = `<style>
text { font: 13px system-ui, sans-serif; fill: #24292f; }
.small { font-size: 11px; fill: #57606a; }
.title { font-size: 15px; font-weight: 600; }
.ours { fill: #2da44e; }
.other { fill: #afb8c1; }
.back { fill: #fff; }
</style>`;

const escaped = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

/** For each job a bar for each peer: how many times as long as ours it takes. */
function bars({ jobs, date }) {
  const shown = jobs.filter(({ peers }) => peers.length > 1);
  const [label, width] = [250, 860];
  const full = Math.max(
    ...shown.flatMap(({ peers }) => peers.map(({ ratios }) => Math.log2(Math.max(2, ratios.ours)))),
  );
  let y = 30;
  const parts = [];
  const rectangles = [];
  parts.push(
    `<text class="title" x="12" y="22">How many times as long as rocketchat-e2ee it takes</text>`,
  );
  parts.push(
    `<text class="small" x="12" y="40">logarithmic; medians of ratios within one run, ${date}; npm run bench</text>`,
  );
  y = 58;
  for (const { name, peers } of shown) {
    y += 20;
    parts.push(`<text x="12" y="${y}">${escaped(name)}</text>`);
    for (const peer of peers) {
      y += 17;
      const ratio = peer.ratios.ours;
      const length = Math.max(
        3,
        ((width - label - 90) * (Math.log2(Math.max(ratio, 0.5)) + 1)) / (full + 1),
      );
      const ours = peer.name.startsWith('ours');
      parts.push(
        `<text class="small" x="${label - 8}" y="${y}" text-anchor="end">${escaped(peer.name)}</text>`,
      );
      rectangles.push(
        `<rect class="${ours ? 'ours' : 'other'}" x="${label}" y="${y - 10}" width="${length.toFixed(1)}" height="12" rx="2"/>`,
      );
      parts.push(
        `<text class="small" x="${(label + length + 6).toFixed(1)}" y="${y}">${times(ratio)} · ${duration(peer.time)}</text>`,
      );
    }
    y += 6;
  }
  return svg('Times of other ways beside ours', width, y + 12, [...rectangles, ...parts]);
}

/** A decade of either axis in a panel of {@link curves}: what grows linearly rises by 45°. */
const DECADE = 56;

/** Times and memory over the number of rooms and of old keys, both axes logarithmic. */
function curves(growth) {
  const byRooms = growth.filter((point) => point.oldKeys === 1);
  const byKeys = growth.filter((point) => point.rooms === 100);
  const panels = [
    ['open the store', 'open', 'rooms', byRooms],
    ['each message', 'each', 'rooms', byRooms],
    ['memory', 'memory', 'rooms', byRooms],
    ['open the store, 100 rooms', 'open', 'oldKeys', byKeys],
    ['each message, 100 rooms', 'each', 'oldKeys', byKeys],
    ['memory, 100 rooms', 'memory', 'oldKeys', byKeys],
  ];
  const parts = [
    '<text class="title" x="12" y="22">How it grows</text>',
    '<text class="small" x="12" y="40">both axes logarithmic; dashed: what is linear</text>',
  ];
  const [w, h] = [3.5 * DECADE, 3.2 * DECADE];
  for (const [index, [title, value, by, points]] of panels.entries()) {
    const [left, top] = [40 + (index % 3) * 280, 90 + Math.floor(index / 3) * 270];
    const first = points[0];
    const last = points.at(-1);
    const most = Math.max(...points.map((point) => point[value]));
    const xOf = (count) => left + 20 + DECADE * Math.log10(count / first[by]);
    const yOf = (amount) => top + 10 + DECADE * Math.log10(most / amount);
    const line = (ends) => `M${ends.map((n) => n.map((c) => c.toFixed(1)).join(' ')).join('L')}`;
    const decades = Math.log10(last[by] / first[by]);
    const end = [xOf(last[by]), yOf(last[value])];
    const linear = [[end[0] - decades * DECADE, end[1] + decades * DECADE], end];
    const places = points.map((point) => [xOf(point[by]), yOf(point[value])]);
    const what = by === 'rooms' ? 'rooms' : 'old keys of each room';
    parts.push(
      `<text x="${left}" y="${top - 14}">${title}</text>`,
      `<path d="M${left} ${top}V${top + h}H${left + w}" fill="none" stroke="#d0d7de"/>`,
      `<path d="${line(linear)}" fill="none" stroke="#afb8c1" stroke-dasharray="4 4"/>`,
      `<path d="${line(places)}" fill="none" stroke="#2da44e" stroke-width="2"/>`,
      `<text class="small" x="${left + w}" y="${top + h + 30}" text-anchor="end">${what}</text>`,
    );
    for (const [at, point] of points.entries()) {
      const [x, y] = places[at].map((n) => n.toFixed(1));
      const text = value === 'memory' ? mebibytes(point.memory) : duration(point[value]);
      parts.push(
        `<circle class="ours" cx="${x}" cy="${y}" r="3"/>`,
        `<text class="small" x="${x}" y="${(places[at][1] - 8).toFixed(1)}" text-anchor="middle">${text}</text>`,
        `<text class="small" x="${x}" y="${top + h + 14}" text-anchor="middle">${point[by].toLocaleString('en')}</text>`,
      );
    }
  }
  return svg('How time and memory grow', 860, 610, parts);
}

function svg(title, width, height, parts) {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">
<title>${title}</title>
${STYLE}
<rect class="back" width="${width}" height="${height}"/>
${parts.join('\n')}
</svg>
`;
}
