// Small comforts for those who act: everything works without. What is remembered stays in this tab until it is closed.

const PERSON = "person";
const DONE = "done:";
const FIELDS = ["given_name", "family_name", "email", "country"];
const FIRST_LOOK_MS = 800;
const LOOKS = 8;

function remembered(key: string): string[] {
  try {
    return JSON.parse(sessionStorage.getItem(key) ?? "[]") as string[];
  } catch {
    return [];
  }
}

function remember(key: string, values: string[]): void {
  try {
    sessionStorage.setItem(key, JSON.stringify(values));
  } catch {
    // A browser that keeps nothing: then nothing is filled in later.
  }
}

/** Who acts for several cases types their name once. Consent is asked anew each time. */
function fillIn(form: HTMLFormElement): void {
  const values = remembered(PERSON);
  FIELDS.forEach((name, place) => {
    const field = form.elements.namedItem(name) as HTMLInputElement | HTMLSelectElement | null;
    if (field && !field.value && values[place]) field.value = values[place] ?? "";
  });
  form.addEventListener("submit", (event) => {
    if (form.dataset["sent"]) {
      event.preventDefault();
      return;
    }
    form.dataset["sent"] = "yes";
    const data = new FormData(form);
    remember(PERSON, FIELDS.map((name) => String(data.get(name) ?? "")));
  });
  // Back from the next page: the form may be sent again.
  addEventListener("pageshow", () => delete form.dataset["sent"]);
}

/** Marks the cases for which this tab has acted, and proposes one that is still to do. */
function showJourney(section: HTMLElement): void {
  const key = DONE + (section.dataset["journey"] ?? "");
  const here = (section.dataset["done"] ?? "").split(" ");
  const done = new Set([...remembered(key), ...here]);
  remember(key, [...done]);
  const items = Array.from(section.querySelectorAll<HTMLElement>("[data-case]"));
  const counted = items.filter((item) => done.has(item.dataset["case"] ?? ""));
  for (const item of counted) markDone(item, section.dataset["word"] ?? "");
  proposeNext(section, items.filter((item) => !counted.includes(item)));
  const of = section.querySelector(".of");
  if (of) of.textContent = (section.dataset["of"] ?? "").replace("{done}", counted.length.toLocaleString(document.documentElement.lang));
  const note = section.querySelector<HTMLElement>("[data-note]");
  if (note) note.hidden = counted.length <= here.length;
  section.querySelector("[data-forget]")?.addEventListener("click", () => {
    sessionStorage.clear();
    location.reload();
  });
}

/** The case with the fewest acts among those still to do; nothing once all are done. */
function proposeNext(section: HTMLElement, open: HTMLElement[]): void {
  const card = section.querySelector<HTMLElement>(".nextcase");
  const next = open.sort((a, b) => Number(a.dataset["count"]) - Number(b.dataset["count"]))[0];
  if (!card || next?.classList.contains("is-next")) return;
  card.hidden = !next;
  const link = next?.querySelector("a");
  const button = card.querySelector("a");
  if (!next || !link || !button) return;
  next.className = "is-next";
  const name = next.dataset["name"] ?? "";
  button.href = link.href;
  button.textContent = (section.dataset["act"] ?? "").replace("{name}", name);
  const heading = card.querySelector("h3");
  if (heading) heading.textContent = name;
  const text = card.querySelector(".soft");
  if (text) text.textContent = next.dataset["country"] ?? "";
}

function markDone(item: HTMLElement, word: string): void {
  if (item.classList.contains("is-done")) return;
  item.className = "is-done";
  const hidden = item.querySelector(".hidden") ?? document.createElement("span");
  hidden.className = "hidden";
  hidden.textContent = `, ${word}`;
  item.querySelector("a")?.append(hidden);
}

/** Asks a few times whether the act is counted by now, ever more rarely. */
function watchReceipt(state: HTMLElement, look = 0): void {
  if (!state.classList.contains("is-behind") || look >= LOOKS) return;
  setTimeout(async () => {
    try {
      const answer = await fetch(state.dataset["receipt"] ?? "");
      const status = answer.ok ? ((await answer.json()) as { status: string }).status : "";
      if (status === "counted") {
        state.className = "state";
        state.textContent = state.dataset["counted"] ?? "";
        return;
      }
    } catch {
      // No connection: the next look tries again.
    }
    watchReceipt(state, look + 1);
  }, FIRST_LOOK_MS * 2 ** look);
}

/** A button for those who do not know how their browser prints. */
function offerPrint(button: HTMLButtonElement): void {
  button.hidden = false;
  button.addEventListener("click", () => print());
}

document.querySelectorAll<HTMLButtonElement>("[data-print]").forEach(offerPrint);
document.querySelectorAll<HTMLFormElement>("form[data-remember]").forEach(fillIn);
document.querySelectorAll<HTMLElement>("[data-journey]").forEach(showJourney);
document.querySelectorAll<HTMLElement>("[data-receipt]").forEach((state) => watchReceipt(state));
