// The stream of totals: reconnects with a back-off, says when it is cut, and ends trying in the end.

import type { Totals } from "./document";

const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;
const SILENCE_MS = 30_000;
const TRIES = 200;

export interface Listener {
  totals(totals: Totals): void;
  /** The connection is lost; `forGood` once no further try is made. */
  cut(forGood: boolean): void;
}

export class Live {
  private source: EventSource | undefined;
  private timer = 0;
  private tries = 0;
  private running = false;

  constructor(private readonly address: string, private readonly listener: Listener) {
    addEventListener("online", () => this.running && !this.source && this.connect());
    addEventListener("pagehide", () => this.close());
    addEventListener("pageshow", () => this.running && !this.source && this.connect());
  }

  start(): void {
    this.running = true;
    this.tries = 0;
    this.connect();
  }

  stop(): void {
    this.running = false;
    this.close();
  }

  private connect(): void {
    this.close();
    const source = (this.source = new EventSource(this.address));
    const take = (event: MessageEvent<string>): void => {
      this.tries = 0;
      this.watch();
      this.listener.totals(JSON.parse(event.data) as Totals);
    };
    source.addEventListener("message", take);
    source.addEventListener("totals", take);
    source.addEventListener("error", () => this.lost());
    this.watch();
  }

  /** A stream that says nothing for long is taken for dead. */
  private watch(): void {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.lost(), SILENCE_MS);
  }

  private lost(): void {
    this.close();
    if (!this.running) return;
    this.tries += 1;
    this.listener.cut(this.tries > TRIES);
    if (this.tries > TRIES) return;
    const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (this.tries - 1));
    // Spread, so that a thousand boards do not come back in the same moment.
    this.timer = window.setTimeout(() => this.connect(), wait * (0.5 + Math.random() / 2));
  }

  private close(): void {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = undefined;
  }
}
