// Numbers and times as the server writes them. Counts are rounded down, delays up.

import type { Forms } from "./document";

const WHOLE_FROM_SECONDS = 10;

export class Writing {
  private readonly numbers: Intl.NumberFormat;
  private readonly percents: Intl.NumberFormat;
  private readonly seconds: Intl.DateTimeFormat;
  private readonly minutes: Intl.DateTimeFormat;
  private readonly days: Intl.DateTimeFormat;
  private readonly plurals: Intl.PluralRules;
  private readonly languages: Intl.DisplayNames | undefined;

  constructor(language: string) {
    const dated = language === "en" ? "en-GB" : language;
    const clock = { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: "UTC" } as const;
    this.numbers = new Intl.NumberFormat(language);
    this.percents = new Intl.NumberFormat(language, { style: "percent" });
    this.seconds = new Intl.DateTimeFormat(dated, { ...clock, second: "2-digit" });
    this.minutes = new Intl.DateTimeFormat(dated, clock);
    this.days = new Intl.DateTimeFormat(dated, { dateStyle: "long", timeZone: "UTC" } as Intl.DateTimeFormatOptions);
    this.plurals = new Intl.PluralRules(language);
    this.languages = "DisplayNames" in Intl ? new Intl.DisplayNames([language], { type: "language" }) : undefined;
  }

  number(value: number): string {
    return this.numbers.format(value);
  }

  /** `part` of `whole` in whole percent; what is something but not one percent as `< 1%`. */
  share(part: number, whole: number): string {
    const percent = whole > 0 ? Math.floor((part * 100) / whole) : 0;
    const text = this.percents.format(Math.max(percent, part > 0 ? 1 : 0) / 100);
    return part > 0 && percent === 0 ? `< ${text}` : text;
  }

  delay(seconds: number): string {
    return this.number(seconds < WHOLE_FROM_SECONDS ? Math.ceil(seconds * 10) / 10 : Math.ceil(seconds));
  }

  time(at: string | number): string {
    return this.seconds.format(new Date(at));
  }

  minute(at: string | number): string {
    return this.minutes.format(new Date(at));
  }

  day(at: string | number): string {
    return this.days.format(new Date(at));
  }

  moment(at: string | number): string {
    return `${this.day(at)}, ${this.minute(at)}`;
  }

  language(code: string): string {
    const name = this.languages?.of(code) ?? code;
    return name.charAt(0).toUpperCase() + name.slice(1);
  }

  /** The form of a text that goes with `count`, with the count in it. */
  counted(forms: Forms, count: number): string {
    return fill(forms[this.plurals.select(count)] ?? forms["other"] ?? "", { count: this.number(count) });
  }
}

/** `text` with what stands in braces filled in. */
export function fill(text: string, values: Record<string, string>): string {
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => values[name] ?? whole);
}
