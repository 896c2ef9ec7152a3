// The live board. The page is whole without this; this keeps it current.

import { Climb } from "./climb";
import { Countries } from "./countries";
import { CHANNELS, type Counts, element, EVIDENCE, KINDS, type Totals, type Words } from "./document";
import { drawStrokes, milestone } from "./drawing";
import { Live } from "./live";
import { drawMinutes, type Points } from "./minutes";
import { drawShares, keepRows, countRow, numberCell, rowsOf, setText, tenth } from "./tables";
import { fill, Writing } from "./writing";

const BEHIND_SECONDS = 5;
const HISTORY_EVERY_MS = 20_000;
const HISTORY_WAIT_MS = 10_000;
const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;

const board = element("#main");
const language = document.documentElement.lang;
const words = JSON.parse(board.dataset["words"] ?? "{}") as Words;
const inTotal = new Set((board.dataset["public"] ?? "").split(" "));
const writing = new Writing(language);
const climb = new Climb(element("#count"), (value) => writing.number(value));
const countries = new Countries(words, writing, language, Number(board.dataset["threshold"]));
let newest: Totals | undefined;

function draw(totals: Totals): void {
  if (newest && totals.version < newest.version) return;
  newest = totals;
  climb.to(totals.public_total);
  drawTotal(totals);
  drawCases(totals.by_case);
  countries.draw(totals.by_country);
  drawShares(element("#kind"), totals.by_kind, KINDS, (key) => words.kind[key] ?? key, writing);
  drawShares(element("#channel"), totals.by_channel, CHANNELS, (key) => words.channel[key] ?? key, writing);
  drawShares(element("#language"), totals.by_language, [], (key) => words.language[key] ?? writing.language(key), writing);
  drawEvidence(totals.by_evidence);
  drawRecord(totals);
  drawState(totals);
}

function drawTotal({ public_total: count, goal, rate_per_minute: rate, as_of: asOf }: Totals): void {
  const svg = element<SVGSVGElement>("#total-strokes svg");
  const scale = goal ?? milestone(count);
  const strokes = drawStrokes(svg, count, scale);
  const said = { written: writing.number(strokes), of: writing.number(100), count: writing.number(count), goal: writing.number(scale) };
  svg.setAttribute("aria-label", fill(goal ? words.strokes : words.strokesAlone, said));
  setText(element("#each"), scale % 100 ? words.hundred : fill(words.each, { each: writing.number(scale / 100) }));
  setText(element("#to-go"), goal ? toGo(goal - count) : "");
  setText(document.querySelector("#rate"), writing.number(rate));
  drawTimeLeft(Date.parse(asOf));
}

function toGo(left: number): string {
  if (left === 0) return words.reached;
  return fill(left > 0 ? words.toGo : words.passedBy, { count: writing.number(Math.abs(left)) });
}

function drawTimeLeft(now: number): void {
  const closes = Date.parse(board.dataset["closes"] ?? "");
  const label = document.querySelector("#left-label");
  const value = document.querySelector("#left");
  const left = closes - now;
  setText(label, left <= 0 ? words.closedOn : left < DAY_MS ? words.hoursLeft : words.daysLeft);
  setText(value, left <= 0 ? writing.day(closes) : writing.number(Math.floor(left / (left < DAY_MS ? HOUR_MS : DAY_MS))));
}

function drawCases(counts: Counts): void {
  const rows = rowsOf(element("#cases"));
  const all = rows.map((row) => counts[row.dataset["key"] ?? ""] ?? 0);
  const least = Math.min(...all);
  const alone = all.length > 1 && all.filter((count) => count === least).length === 1;
  const scale = milestone(Math.max(0, ...all));
  rows.forEach((row, place) => {
    const count = all[place] ?? 0;
    const goal = Number(row.dataset["goal"]);
    drawStrokes(element<SVGSVGElement>("svg", row), count, goal || scale, "in-ink");
    setText(row.cells[2], writing.number(count));
    const note = element("small", row);
    const reached = goal > 0 && count >= goal;
    note.className = reached ? "kept" : alone && count === least ? "few" : "";
    setText(note, reached ? words.reached : alone && count === least ? words.fewest : "");
  });
}

function drawEvidence(counts: Counts): void {
  const whole = EVIDENCE.reduce((all, key) => all + (inTotal.has(key) ? counts[key] ?? 0 : 0), 0);
  const bars = Array.from(element("#evidence-bar").children);
  let end = 0;
  for (const row of rowsOf(element("#evidence"))) {
    const key = row.dataset["key"] ?? "";
    const count = counts[key] ?? 0;
    row.hidden = count === 0 && !inTotal.has(key);
    setText(row.cells[1], writing.number(count));
    if (!inTotal.has(key)) continue;
    const bar = bars.shift();
    bar?.setAttribute("x", String(tenth(end, whole)));
    bar?.setAttribute("width", String(tenth(count, whole)));
    end += count;
  }
}

/** What was taken back and corrected: the public record of every decrease. */
function drawRecord({ withdrawn, corrections }: Totals): void {
  const note = element("#withdrawn");
  note.hidden = withdrawn === 0;
  setText(note, writing.counted(words.withdrawn, withdrawn));
  element("#corrections").hidden = corrections.length === 0;
  const body = element("#corrections tbody");
  keepRows(body, corrections.map((_correction, place) => String(place)), (key) => {
    const correction = corrections[Number(key)];
    const row = countRow(correction ? writing.moment(correction.at) : "");
    const why = document.createElement("td");
    why.textContent = correction?.reason ?? "";
    row.lastElementChild?.replaceWith(why, numberCell());
    setText(row.cells[2], correction ? writing.number(correction.change) : "");
    return row;
  });
}

function drawState(totals: Totals): void {
  if (totals.state === "frozen") {
    live.stop();
    say("is-final", words.final);
    pause.hidden = true;
    element("#minutes").hidden = true;
    setText(document.querySelector("#rate-label"), words.takenBack);
    setText(document.querySelector("#rate"), writing.number(totals.withdrawn));
    setText(element("#as-of"), fill(words.asOfFinal, { moment: writing.moment(totals.as_of) }));
    return;
  }
  const behind = totals.state === "catching_up" || totals.lag_seconds > BEHIND_SECONDS;
  say(behind ? "is-behind" : "", behind ? words.behind : words.live);
  setText(element("#as-of"), fill(words.asOf, { time: writing.time(totals.as_of), seconds: writing.delay(totals.lag_seconds) }));
}

function say(look: string, word: string): void {
  const state = element("#state");
  state.className = look ? `state ${look}` : "state";
  setText(state, word);
}

const live = new Live(board.dataset["live"] ?? "", {
  totals: draw,
  cut: (forGood) => say("is-cut", forGood ? words.gone : words.cut),
});

const pause = element<HTMLButtonElement>("#pause");
pause.hidden = false;
pause.addEventListener("click", () => {
  const paused = pause.getAttribute("aria-pressed") !== "true";
  pause.setAttribute("aria-pressed", String(paused));
  if (paused) {
    live.stop();
    say("is-behind", words.paused);
  } else live.start();
});

async function refreshHistory(): Promise<void> {
  if (!newest || document.hidden || pause.getAttribute("aria-pressed") === "true") return;
  const ended = new AbortController();
  const timer = setTimeout(() => ended.abort(), HISTORY_WAIT_MS);
  try {
    const answer = await fetch(board.dataset["history"] ?? "", { signal: ended.signal });
    if (!answer.ok) return;
    const history = (await answer.json()) as { points: Points };
    drawMinutes(history.points, newest.as_of, words, writing);
  } catch {
    // The next round tries again; the stream says when the connection is lost.
  } finally {
    clearTimeout(timer);
  }
}

live.start();
setInterval(() => void refreshHistory(), HISTORY_EVERY_MS * (0.9 + Math.random() / 5));
