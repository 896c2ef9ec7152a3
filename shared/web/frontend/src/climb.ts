// A number that climbs to what was last received, and is never ahead of it.

const MILLISECONDS = 900;

export class Climb {
  private shown: number;
  private goal: number;
  private frame = 0;
  private readonly still = matchMedia("(prefers-reduced-motion: reduce)");

  constructor(private readonly target: HTMLElement, private readonly write: (value: number) => string) {
    this.shown = this.goal = Number(target.dataset["count"]);
  }

  to(value: number): void {
    this.goal = value;
    cancelAnimationFrame(this.frame);
    if (value <= this.shown || this.still.matches || document.hidden) {
      this.show(value);
      return;
    }
    const from = this.shown;
    const began = performance.now();
    const step = (now: number): void => {
      const part = Math.min(1, Math.max(0, now - began) / MILLISECONDS);
      this.show(Math.floor(from + (this.goal - from) * part));
      if (part < 1) this.frame = requestAnimationFrame(step);
    };
    this.frame = requestAnimationFrame(step);
  }

  private show(value: number): void {
    if (value === this.shown) return;
    this.shown = value;
    this.target.textContent = this.write(value);
    this.target.dataset["count"] = String(value);
    this.target.classList.toggle("is-long", value > 9_999_999);
  }
}
