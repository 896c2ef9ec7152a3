// Pen strokes: the same rules as the server draws by.

import { element } from "./document";

const TAIL = 1.45;
const LEAST = [10, 100, 1_000, 10_000, 100_000];
const PENS: readonly (readonly [number, number])[] = [[0.5, -1.8], [0.9, -3.4], [1.1, -4.6], [1.5, -6], [1.7, -7], [1.9, -7.8]];
const ORIGIN = [4.85, 24] as const;
const GRID = [4.8, 9.6] as const;

/** The next round number above `count`: the scale where no goal is set. */
export function milestone(count: number): number {
  for (let power = 100; ; power *= 10) {
    for (const step of [1, 2, 5]) if (step * power > count) return step * power;
  }
}

/** How many of `of` strokes `count` has written towards `goal`, rounded down. */
export function written(count: number, goal: number, of: number): number {
  return goal > 0 ? Math.max(0, Math.min(of, Math.floor((count * of) / goal))) : 0;
}

/** Draws a count into a row of strokes; its width says of how many. `style` is its look until the goal is reached. */
export function drawStrokes(svg: SVGSVGElement, count: number, goal: number, style = ""): number {
  const of = Math.round(svg.viewBox.baseVal.width + TAIL);
  const strokes = written(count, goal, of);
  const end = Number((strokes - (strokes % 10) / 10).toFixed(2));
  element("path.done", svg).setAttribute("d", `M0 .5H${end}`);
  svg.setAttribute("class", `strokes${count >= goal ? " full" : style && ` ${style}`}`);
  return strokes;
}

/** The class of a count on the map, 0 to 5. */
export function weight(count: number): number {
  return LEAST.filter((least) => least <= count).length;
}

/** The strokes of a country drawn with another pen, in their places. */
export function redrawn(path: string, from: number, to: number): string {
  const [run, rise] = PENS[from] ?? [0, 0];
  const [newRun, newRise] = PENS[to] ?? [0, 0];
  return path.replace(/M([\d.]+) ([\d.]+)l[\d.]+-[\d.]+|M([\d.]+) ([\d.]+)l[\d.]+ -[\d.]+/g, (_all, a, b, c, d) => {
    const x = onGrid(Number(a ?? c) + run / 2, 0);
    const y = onGrid(Number(b ?? d) + rise / 2, 1);
    return `M${short(x - newRun / 2)} ${short(y - newRise / 2)}l${newRun} ${newRise}`;
  });
}

function onGrid(value: number, axis: 0 | 1): number {
  return ORIGIN[axis] + Math.round((value - ORIGIN[axis]) / GRID[axis]) * GRID[axis];
}

function short(value: number): number {
  return Number(value.toPrecision(4));
}
