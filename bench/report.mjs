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
    const least = ratio < 1 ? `at most ${(1 / ratio).toFixed(1)} times as slow` : times(ratio);
    lines.push(
      `  ${ok ? 'reached' : 'MISSED '} ${of} against ${against}: ${times(reached)} (${least})`,
    );
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
    row('job', 'against', 'at least', 'measured'),
    '| --- | --- | --- | --- |',
  ];
  for (const job of jobs) {
    for (const { of, against, ratio, reached, ok } of checked(job)) {
      const name = of === 'ours' ? job.name : `${job.name}: ${of.replace('ours, ', '')}`;
      lines.push(row(name, against, times(ratio), `${ok ? '' : 'missed: '}**${times(reached)}**`));
    }
    if (job.loopDelayP99 !== undefined) {
      const delay = job.loopDelayP99;
      const ok = delay < 20;
      lines.push(
        row(
          job.name,
          'event loop delay, p99',
          '< 20 ms',
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

/** Time to open and time for a message over the number of rooms, both axes logarithmic. */
function curves(growth) {
  const [width, height] = [860, 300];
  const panels = [
    ['open the store, by rooms (one old key)', 'open', 'rooms', (point) => point.oldKeys === 1],
    ['each message, by rooms (one old key)', 'each', 'rooms', (point) => point.oldKeys === 1],
    ['memory, by rooms (one old key)', 'memory', 'rooms', (point) => point.oldKeys === 1],
    ['each message, by old keys (100 rooms)', 'each', 'oldKeys', (point) => point.rooms === 100],
  ];
  const parts = ['<text class="title" x="12" y="22">How it grows</text>'];
  for (const [index, [title, value, by, filter]] of panels.entries()) {
    const points = growth.filter(filter);
    const [left, top, w, h] = [20 + index * 210, 60, 180, 190];
    const xs = points.map((point) => Math.log10(point[by]));
    const most = Math.max(...points.map((point) => point[value]));
    const place = (point) => [
      left + 10 + ((w - 30) * Math.log10(point[by])) / Math.max(1, ...xs),
      top + h - (h - 20) * (point[value] / most),
    ];
    parts.push(`<text class="small" x="${left}" y="48">${title}</text>`);
    parts.push(`<path d="M${left} ${top}V${top + h}H${left + w}" fill="none" stroke="#d0d7de"/>`);
    parts.push(
      `<path d="M${points
        .map((point) =>
          place(point)
            .map((n) => n.toFixed(1))
            .join(' '),
        )
        .join('L')}" fill="none" stroke="#2da44e" stroke-width="2"/>`,
    );
    for (const point of points) {
      const [x, y] = place(point);
      const text = value === 'memory' ? mebibytes(point.memory) : duration(point[value]);
      parts.push(`<circle class="ours" cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="3"/>`);
      parts.push(
        `<text class="small" x="${x.toFixed(1)}" y="${(y - 7).toFixed(1)}" text-anchor="middle">${text}</text>`,
      );
      parts.push(
        `<text class="small" x="${x.toFixed(1)}" y="${top + h + 14}" text-anchor="middle">${point[by].toLocaleString('en')}</text>`,
      );
    }
  }
  return svg('How time and memory grow', width, height - 20, parts);
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
