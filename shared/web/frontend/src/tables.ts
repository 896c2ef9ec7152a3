// Tables whose rows are known by their `data-key`.

import { type Counts, OTHER, sum } from "./document";
import type { Writing } from "./writing";

const SVG = "http://www.w3.org/2000/svg";

/** Parts of a whole: name, bar, count and share. `order` is the fixed order of the words; without one the largest come first. */
export function drawShares(body: HTMLElement, counts: Counts, order: string[], name: (key: string) => string, writing: Writing): void {
  const whole = sum(counts);
  const rank = (key: string): number => (order.includes(key) ? order.indexOf(key) : order.length);
  const size = (key: string): number => (order.length ? 0 : counts[key] ?? 0);
  const keys = Object.keys(counts).filter((key) => (counts[key] ?? 0) > 0);
  keys.sort((a, b) => last(a) - last(b) || rank(a) - rank(b) || size(b) - size(a) || (a < b ? -1 : 1));
  keepRows(body, keys, (key) => shareRow(name(key)));
  for (const row of rowsOf(body)) {
    const count = counts[row.dataset["key"] ?? ""] ?? 0;
    row.querySelector("rect:last-child")?.setAttribute("width", String(tenth(count, whole)));
    setText(row.cells[1], writing.number(count));
    setText(row.cells[2], writing.share(count, whole));
  }
}

/** `part` of `whole` as a length of 100, rounded down to a tenth. */
export function tenth(part: number, whole: number): number {
  return whole > 0 ? Math.floor((part * 1000) / whole) / 10 : 0;
}

export function rowsOf(body: HTMLElement): HTMLTableRowElement[] {
  return Array.from(body.querySelectorAll<HTMLTableRowElement>("tr[data-key]"));
}

/** Makes the rows of `body` those of `keys`, in their order; rows that are there already are kept. */
export function keepRows(body: HTMLElement, keys: string[], make: (key: string) => HTMLTableRowElement): void {
  const present = new Map(rowsOf(body).map((row) => [row.dataset["key"] ?? "", row]));
  if (keys.length === present.size && rowsOf(body).every((row, place) => row.dataset["key"] === keys[place])) return;
  body.replaceChildren(
    ...keys.map((key) => {
      const row = present.get(key) ?? make(key);
      row.dataset["key"] = key;
      return row;
    }),
  );
}

/** A row with a name and a count. */
export function countRow(name: string): HTMLTableRowElement {
  const row = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = name;
  row.append(head, numberCell());
  return row;
}

export function numberCell(): HTMLTableCellElement {
  const cell = document.createElement("td");
  cell.className = "n";
  return cell;
}

/** Changes a text only where it differs, so that nothing is redrawn or selected anew for nothing. */
export function setText(node: Element | null | undefined, text: string): void {
  if (node && node.textContent !== text) node.textContent = text;
}

function shareRow(name: string): HTMLTableRowElement {
  const row = countRow(name);
  const bar = document.createElementNS(SVG, "svg");
  bar.setAttribute("class", "share-bar");
  bar.setAttribute("viewBox", "0 0 100 8");
  bar.setAttribute("preserveAspectRatio", "none");
  bar.setAttribute("aria-hidden", "true");
  bar.append(rect({ class: "bg", y: "7", width: "100", height: "1" }), rect({ width: "0", height: "8" }));
  row.cells[0]?.append(bar);
  row.append(numberCell());
  return row;
}

function rect(attributes: Record<string, string>): SVGRectElement {
  const shape = document.createElementNS(SVG, "rect");
  for (const [name, value] of Object.entries(attributes)) shape.setAttribute(name, value);
  return shape;
}

function last(key: string): number {
  return key === OTHER ? 1 : 0;
}
