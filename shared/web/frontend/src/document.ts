// What the server sends: the totals document, the history, and the words of the page.

export type Counts = Record<string, number>;

export interface Correction {
  at: string;
  change: number;
  reason: string;
}

export interface Totals {
  version: number;
  as_of: string;
  lag_seconds: number;
  state: "live" | "catching_up" | "frozen";
  public_total: number;
  goal: number | null;
  rate_per_minute: number;
  by_case: Counts;
  by_country: Counts;
  by_kind: Counts;
  by_channel: Counts;
  by_language: Counts;
  by_evidence: Counts;
  withdrawn: number;
  corrections: Correction[];
}

/** A text for each plural category of the language. */
export type Forms = Record<string, string>;
export type Names = Record<string, string>;

type Sentence =
  | "live" | "behind" | "cut" | "gone" | "final" | "paused" | "pause" | "resume" | "asOf" | "asOfFinal"
  | "strokes" | "strokesAlone" | "each" | "hundred" | "toGo" | "passedBy" | "reached" | "fewest" | "daysLeft" | "hoursLeft" | "closedOn" | "takenBack"
  | "peak" | "fromTo" | "spark" | "others" | "fewerThan" | "countryHead" | "countHead";

export type Words = Record<Sentence, string> &
  Record<"from" | "more" | "withdrawn", Forms> &
  Record<"kind" | "channel" | "language" | "country", Names>;

export const KINDS = ["signature", "letter", "postcard", "drawing", "solidarity_message", "share", "pledge", "task"];
export const CHANNELS = ["web", "api", "import", "email", "post", "social", "in_person"];
export const EVIDENCE = ["confirmed", "recorded", "offline", "self_reported"];
export const OTHER = "other";
export const UNKNOWN_COUNTRY = "ZZ";

export function sum(counts: Counts): number {
  return Object.values(counts).reduce((all, count) => all + count, 0);
}

/** An element that the template promises. */
export function element<T extends Element = HTMLElement>(selector: string, within: ParentNode = document): T {
  const found = within.querySelector<T>(selector);
  if (!found) throw new Error(`the page has no ${selector}`);
  return found;
}
