// The last hour, minute by minute.

import { element, type Words } from "./document";
import { keepRows, countRow, setText } from "./tables";
import { fill, type Writing } from "./writing";

export type Points = readonly { at: string; count: number }[];

const MINUTES = 60;
const MINUTE_MS = 60_000;
const STEP = 10;
const TALLEST = 94;

export function drawMinutes(points: Points, asOf: string, words: Words, writing: Writing): void {
  const end = (Math.floor(Date.parse(asOf) / MINUTE_MS) + 1) * MINUTE_MS;
  const start = end - MINUTES * MINUTE_MS;
  const counts = new Array<number>(MINUTES).fill(0);
  for (const { at, count } of points) {
    const place = Math.floor((Date.parse(at) - start) / MINUTE_MS);
    if (place >= 0 && place < MINUTES) counts[place] = (counts[place] ?? 0) + count;
  }
  const peak = Math.max(...counts);
  const strokes = counts.map((count, place) => (count > 0 ? `M${place + 0.5} 100V${100 - Math.floor((count * TALLEST) / peak)}` : ""));
  const svg = element<SVGSVGElement>("#spark");
  const [past, current] = Array.from(svg.querySelectorAll("path"));
  current?.setAttribute("d", strokes.pop() ?? "");
  past?.setAttribute("d", strokes.join(""));
  const latest = counts[MINUTES - 1] ?? 0;
  svg.setAttribute("aria-label", fill(words.spark, { peak: writing.number(peak), latest: writing.number(latest) }));
  const [first, middle, last] = Array.from(element("#spark-ends").children);
  setText(first, writing.minute(start));
  setText(middle, fill(words.peak, { count: writing.number(peak) }));
  setText(last, `${writing.minute(end)} UTC`);
  drawSpans(start, counts, words, writing);
}

function drawSpans(start: number, counts: number[], words: Words, writing: Writing): void {
  const keys = Array.from({ length: MINUTES / STEP }, (_nothing, span) => String(start + span * STEP * MINUTE_MS));
  const body = element("#spans");
  keepRows(body, keys, (key) => {
    const to = Number(key) + (STEP - 1) * MINUTE_MS;
    return countRow(fill(words.fromTo, { start: writing.minute(Number(key)), end: writing.minute(to) }));
  });
  keys.forEach((_key, span) => {
    const count = counts.slice(span * STEP, (span + 1) * STEP).reduce((all, one) => all + one, 0);
    setText((body.children[span] as HTMLTableRowElement).cells[1], writing.number(count));
  });
}
