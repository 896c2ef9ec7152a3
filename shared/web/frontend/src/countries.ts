// The countries: the map, the ten with the most, and every one in a table.

import { type Counts, element, OTHER, UNKNOWN_COUNTRY, type Words } from "./document";
import { redrawn, weight } from "./drawing";
import { countRow, keepRows, rowsOf, setText } from "./tables";
import { fill, type Writing } from "./writing";

const SHOWN = 12;
const TOP = 10;
const COLUMNS = 3;
const ORDER_KEPT_MS = 30_000;

export class Countries {
  private order: string[] = [];
  private ordered = 0;
  private readonly collator: Intl.Collator;

  constructor(private readonly words: Words, private readonly writing: Writing, language: string, private readonly threshold: number) {
    this.collator = new Intl.Collator(language);
  }

  draw(counts: Counts): void {
    const keys = Object.keys(counts).filter((key) => key !== OTHER && (counts[key] ?? 0) > 0);
    this.arrange(keys, counts);
    for (const place of ["#topten", "#countries", "#countries-more"]) {
      for (const row of rowsOf(element(place))) setText(row.cells[1], this.writing.number(counts[row.dataset["key"] ?? ""] ?? 0));
    }
    this.drawMap(counts);
    const others = element("#others");
    const other = counts[OTHER] ?? 0;
    others.hidden = other === 0;
    setText(others, fill(this.words.others, { count: this.writing.number(other) }));
    setText(element("#map-h"), this.writing.counted(this.words.from, keys.filter((key) => key !== UNKNOWN_COUNTRY).length));
  }

  /** Rows change places only when a country is new, or now and then: nobody can read a table that jumps. */
  private arrange(keys: string[], counts: Counts): void {
    const known = new Set(this.order);
    const now = Date.now();
    if (keys.length === known.size && keys.every((key) => known.has(key)) && now - this.ordered < ORDER_KEPT_MS) return;
    this.ordered = now;
    this.order = keys.sort(
      (a, b) => (counts[b] ?? 0) - (counts[a] ?? 0) || this.collator.compare(this.name(a), this.name(b)),
    );
    keepRows(element("#topten"), this.order.slice(0, TOP), (key) => this.row(key));
    this.fillColumns(element("#countries"), this.order.slice(0, SHOWN));
    this.fillColumns(element("#countries-more"), this.order.slice(SHOWN));
    const more = Math.max(0, this.order.length - SHOWN);
    element("#more-countries").hidden = more === 0;
    setText(element("#more-countries summary"), this.writing.counted(this.words.more, more));
  }

  private fillColumns(place: HTMLElement, keys: string[]): void {
    const height = Math.ceil(keys.length / COLUMNS);
    const wanted = height ? Math.ceil(keys.length / height) : 0;
    while (place.childElementCount > wanted) place.lastElementChild?.remove();
    while (place.childElementCount < wanted) place.append(this.table());
    place.querySelectorAll("tbody").forEach((body, column) => {
      keepRows(body, keys.slice(column * height, (column + 1) * height), (key) => this.row(key));
    });
  }

  private drawMap(counts: Counts): void {
    const pens = Array.from(element("#world").children);
    for (const path of element("#world").querySelectorAll("path")) {
      const code = path.id.slice(2);
      const count = counts[code] ?? 0;
      const from = path.parentElement ? pens.indexOf(path.parentElement) : 0;
      const to = weight(count);
      if (from !== to) {
        path.setAttribute("d", redrawn(path.getAttribute("d") ?? "", from, to));
        pens[to]?.append(path);
      }
      const hidden = count === 0 && this.threshold > 1;
      const shown = hidden ? fill(this.words.fewerThan, { count: this.writing.number(this.threshold) }) : this.writing.number(count);
      setText(path.querySelector("title"), `${this.name(code)}: ${shown}`);
    }
  }

  private row(key: string): HTMLTableRowElement {
    return countRow(this.name(key));
  }

  private table(): HTMLTableElement {
    const table = document.createElement("table");
    table.className = "rows";
    const head = table.createTHead().insertRow();
    for (const [text, style] of [[this.words.countryHead, ""], [this.words.countHead, "n"]] as const) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = text;
      if (style) cell.className = style;
      head.append(cell);
    }
    table.createTBody();
    return table;
  }

  private name(code: string): string {
    return this.words.country[code] ?? code;
  }
}
