"use strict";

// A person gives heads another class, or strikes them out, and the slide is counted anew. The rules are those of
// reviewed_count() in review.py, wilson_interval() in intervals.py, agreement() in agreement.py and replicate_check()
// in prevalence.py; the tests compare the two. A head's `person` is null where nobody looked, STRUCK where it was
// struck out, else the index of a class; its `machine` is NOTHING where no head was found.

const STRUCK = -1;
const NOTHING = -2;
const Z = 1.9599639845400536; // two-sided 95 %
const COLUMNS = ["table", "row", "file", "page", "head", "machine", "person", "struck", "reviewer", "saved"];

function wilson(normal, total) {
  const p = normal / total;
  const middle = p + Z * Z / (2 * total);
  const half = Z * Math.sqrt(p * (1 - p) / total + Z * Z / (4 * total * total));
  const scale = 1 + Z * Z / total;
  return [Math.max((middle - half) / scale, 0), Math.min((middle + half) / scale, 1)];
}

function normalShare(classes, normal) {
  const total = classes.reduce((sum, count) => sum + count, 0);
  if (normal === null || total === 0) return null;
  const [low, high] = wilson(classes[normal], total);
  return { normal: classes[normal], total, share: classes[normal] / total, low, high };
}

function kappaOf(pairs) {
  if (pairs.length === 0) return null;
  const people = new Map(), machine = new Map();
  const add = (counts, key) => counts.set(key, (counts.get(key) || 0) + 1);
  let same = 0, byChance = 0;
  for (const [one, other] of pairs) {
    same += one === other;
    add(people, one);
    add(machine, other);
  }
  for (const [key, count] of people) byChance += count * (machine.get(key) || 0);
  const total = pairs.length, room = total * total - byChance;
  return { same, total, share: same / total, kappa: room === 0 ? null : (same * total - byChance) / room };
}

function recount(slide) {
  const classes = slide.rest.slice(), own = slide.labels.map(() => 0), pairs = [];
  let judged = 0, struck = 0;
  for (const head of slide.heads) {
    if (head.person === null) {
      if (head.machine !== NOTHING && head.machine !== slide.noHead && !head.doubtful) classes[head.machine] += 1;
      continue;
    }
    judged += 1;
    if (head.person === STRUCK) {
      struck += 1;
      continue;
    }
    pairs.push([head.person, head.machine]);
    if (head.person !== slide.noHead) {
      classes[head.person] += 1;
      own[head.person] += 1;
    }
  }
  return {
    classes, judged, struck, changed: pairs.filter(([one, other]) => one !== other).length,
    share: normalShare(classes, slide.normal), own: normalShare(own, slide.normal), agreement: kappaOf(pairs),
  };
}

function replicates(first, second) {
  if (first === null || second === null) return null;
  const pooled = (first.normal + second.normal) / (first.total + second.total);
  const limit = 1.96 * Math.sqrt(pooled * (1 - pooled) * (1 / first.total + 1 / second.total));
  const difference = Math.abs(first.share - second.share);
  return { difference, limit, agree: difference <= limit };
}

// As Python writes it: the one tie that a binary number can be at one decimal, x.25, goes down to the even digit.
function percent(value) {
  const x = 100 * value;
  return `${x % 1 === 0.25 ? Math.floor(x) + ".2" : x.toFixed(1)} %`;
}

function cell(value) {
  const text = String(value);
  return /[",\n\r;]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// Text that somebody types: on one line, and never a formula to a spreadsheet.
function typed(text) {
  const line = text.replace(/[\u0000-\u001f\u007f\\]/g, " ").trim();
  return /^'*[=+@-]/.test(line) ? `'${line}` : line;
}

function reviewTable(slides, reviewer, saved) {
  const lines = [COLUMNS];
  for (const slide of slides) {
    for (const head of slide.heads) {
      const judged = head.person !== null, struck = head.person === STRUCK;
      lines.push([
        slide.table, head.row, head.file, head.page, head.head,
        head.machine === NOTHING ? "" : slide.cells[head.machine],
        judged && !struck ? slide.cells[head.person] : "", struck ? "True" : "",
        judged ? typed(reviewer) : "", judged ? saved : "",
      ]);
    }
  }
  return "\ufeff" + lines.map((line) => line.map(cell).join(",") + "\n").join("");
}

// ---- the page ----

function start(document, window) {
  const slides = JSON.parse(document.getElementById("heads").textContent);
  const bar = document.getElementById("correct");
  const reviewer = document.getElementById("reviewer");
  const filter = document.getElementById("filter");
  const cards = slides.map((slide, number) =>
    slide.heads.map((head) => document.getElementById(`s${number}r${head.row}`)));
  const boxes = slides.map((slide, number) =>
    slide.heads.map((head) => document.getElementById(`s${number}b${head.row}`)));
  let unsaved = false;

  function put(number, values) {
    for (const place of document.querySelectorAll(`[data-slide="${number}"] [data-live]`)) {
      if (place.dataset.live in values) place.textContent = values[place.dataset.live];
    }
  }

  function shareTexts(name, share) {
    return {
      [name]: share ? percent(share.share) : "no share", [`${name}-normal`]: share ? share.normal : 0,
      [`${name}-total`]: share ? share.total : 0, [`${name}-low`]: share ? percent(share.low) : "–",
      [`${name}-high`]: share ? percent(share.high) : "–",
    };
  }

  function showCounts() {
    const found = slides.map(recount);
    found.forEach((count, number) => {
      const alike = count.agreement;
      const values = {
        ...shareTexts("share", count.share), ...shareTexts("own", count.own),
        judged: count.judged, changed: count.changed, struck: count.struck,
        same: alike ? alike.same : 0, pairs: alike ? alike.total : 0,
        agreement: alike ? percent(alike.share) : "–",
        kappa: alike && alike.kappa !== null ? alike.kappa.toFixed(2) : "–",
      };
      const total = count.classes.reduce((sum, one) => sum + one, 0);
      values.total = total;
      count.classes.forEach((one, label) => {
        values[`class-${label}`] = one;
        values[`class-share-${label}`] = percent(one / Math.max(total, 1));
      });
      put(number, values);
    });
    for (const place of document.querySelectorAll(".person-says")) {
      place.hidden = !found.some((count) => count.judged > 0);
    }
    if (found.length === 2) {
      const both = replicates(found[0].share, found[1].share);
      put("both", {
        agree: both === null ? "can't be compared" : both.agree ? "agree" : "do not agree",
        difference: both === null ? "–" : percent(both.difference), limit: both === null ? "–" : percent(both.limit),
      });
    }
    const sums = ["judged", "changed", "struck"].map((key) => found.reduce((sum, count) => sum + count[key], 0));
    const shares = found.map((count) => (count.share ? percent(count.share.share) : "no share")).join(" and ");
    document.getElementById("tally").textContent =
      `${sums[0]} checked, ${sums[1]} changed, ${sums[2]} struck out. Normal: ${shares}`;
  }

  function showHead(number, index) {
    const slide = slides[number], head = slide.heads[index];
    const card = cards[number][index], box = boxes[number][index];
    const struck = head.person === STRUCK, judged = head.person !== null;
    const state = !judged ? "" : struck ? "struck" : head.person === head.machine ? "same" : "changed";
    card.dataset.state = state;
    card.querySelector(".person").textContent = !judged ? ""
      : struck ? "struck out" : `${state === "same" ? "confirmed" : "person: "}${state === "same" ? "" : slide.labels[head.person]}`;
    for (const button of card.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(judged && Number(button.value) === head.person));
    }
    if (box) {
      box.dataset.state = state;
      const shown = judged && !struck ? head.person : head.machine;
      box.querySelector("tspan").textContent = struck ? "✗" : shown === NOTHING ? "–" : slide.letters[shown];
      box.style.setProperty("--mark", struck || shown === NOTHING ? "#555" : slide.colours[shown]);
    }
  }

  function judge(number, index, person) {
    const head = slides[number].heads[index];
    head.person = head.person === person ? null : person;
    unsaved = true;
    showHead(number, index);
  }

  function wanted(head, choice) {
    return choice === "all" || (choice === "doubtful" && head.doubtful) || (choice === "open" && head.person === null)
      || (choice === "changed" && head.person !== null && head.person !== head.machine);
  }

  function showWanted() {
    const [kind, label] = filter.value.split(":");
    slides.forEach((slide, number) => slide.heads.forEach((head, index) => {
      const right = kind === "class" ? slide.labels[head.machine] === slides[0].labels[label] : wanted(head, kind);
      cards[number][index].hidden = !right;
    }));
  }

  function confirmRest() {
    const open = [];
    slides.forEach((slide, number) => slide.heads.forEach((head, index) => {
      if (head.person === null && head.machine !== NOTHING && !cards[number][index].hidden) open.push([number, index]);
    }));
    if (!window.confirm(`Have you looked at these ${open.length} heads? They get the machine's class as yours.`)) return;
    for (const [number, index] of open) judge(number, index, slides[number].heads[index].machine);
    showCounts();
  }

  function save() {
    const text = reviewTable(slides, reviewer.value, new Date().toISOString());
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = bar.dataset.save;
    link.click();
    window.setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    unsaved = false;
  }

  function addButtons(number, index) {
    const slide = slides[number], group = document.createElement("div");
    group.className = "choices";
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", `class of ${cards[number][index].dataset.name}`);
    const add = (value, letter, title) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", value, textContent: letter, title });
      button.setAttribute("aria-label", title);
      button.addEventListener("click", () => {
        judge(number, index, value);
        showCounts();
      });
      group.append(button);
    };
    slide.labels.forEach((label, value) => add(value, slide.letters[value], label));
    add(STRUCK, "✗", "strike out: does not count");
    cards[number][index].append(group);
  }

  slides.forEach((slide, number) => slide.heads.forEach((head, index) => {
    addButtons(number, index);
    showHead(number, index);
  }));
  slides[0].labels.forEach((label, value) => filter.add(new window.Option(`machine: ${label}`, `class:${value}`)));
  filter.addEventListener("change", showWanted);
  document.getElementById("confirm").addEventListener("click", confirmRest);
  document.getElementById("save").addEventListener("click", save);
  window.addEventListener("beforeunload", (event) => {
    if (unsaved) event.preventDefault();
  });
  for (const hidden of document.querySelectorAll(".scripted")) hidden.hidden = false;
  showCounts();
}

if (typeof document !== "undefined") start(document, window);
if (typeof module !== "undefined") module.exports = { kappaOf, percent, recount, replicates, reviewTable, typed, wilson };
