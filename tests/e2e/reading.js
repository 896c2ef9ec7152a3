// Run inside the page by the tests: everything the board says, in the order in which it says it.

function plain(element) {
  return element.textContent.replace(/\s+/g, " ").trim();
}

function all(selector) {
  return Array.from(document.querySelectorAll(selector)).filter((element) => !element.closest("[hidden], noscript"));
}

function attributes(selector, name) {
  return all(selector).map((element) => element.getAttribute(name));
}

function readBoard() {
  const lands = all("#world path").map((path) => [
    path.id,
    path.parentElement.getAttribute("class"),
    path.getAttribute("d").replace(/ -/g, "-"),
    plain(path),
  ]);
  return {
    count: all("#count").map(plain),
    side: all(".side").map(plain),
    ends: all(".ends").map(plain),
    state: all("#state, #as-of").map(plain),
    heads: all("h2").map(plain),
    rows: all("tbody tr").map(plain),
    notes: all(".note, .note span").map((note) => all(`#${note.id || "none"}`).map(plain).join() || plain(note)),
    strokes: attributes(".strokes path", "d"),
    looks: attributes(".strokes", "class"),
    labels: attributes("svg[aria-label]", "aria-label"),
    bars: attributes(".share-bar rect:last-child, #evidence-bar rect", "width"),
    starts: attributes("#evidence-bar rect", "x"),
    spark: attributes("#spark path", "d"),
    lands: lands.sort(),
  };
}

function watchCount() {
  window.seen = [];
  const count = document.querySelector("#count");
  const look = () => window.seen.push(Number(count.textContent.replace(/\D/g, "")));
  new MutationObserver(look).observe(count, { childList: true, subtree: true, characterData: true });
}
