"use strict";
// Sorting, filtering and hover values. Without it the page shows all there is.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const byId = (id) => document.getElementById(id);

  // Tables: the first rows until more are wanted.
  const groups = all("[data-table], [data-cards]").map((element) => {
    const table = "table" in element.dataset;
    const group = { element, table, by: element.dataset.table ?? element.dataset.cards, least: table ? 15 : 6 };
    group.few = group.least;
    group.rows = () => (table ? [...element.tBodies[0].rows] : [...element.children]);
    group.more = document.createElement("button");
    group.more.type = "button";
    group.more.className = "more";
    group.more.addEventListener("click", () => {
      group.few = group.few === Infinity ? group.least : Infinity;
      show();
    });
    group.none = document.createElement("p");
    group.none.className = "note";
    group.none.textContent = "Nothing here fits the filter.";
    (table ? element.parentElement : element).after(group.none, group.more);
    return group;
  });

  const words = () => byId("words").value.toLowerCase().split(/\s+/).filter(Boolean);

  // A word `host:…` or `proto:…` must be one of a row's own; any other must be in its text.
  const fits = (row, group, asked) => {
    const own = (row.dataset.k ?? "").toLowerCase().split(" ");
    return asked.every((word) => {
      const kind = /^(host|proto):/.exec(word)?.[1];
      if (kind) return !group.by.includes(kind) || own.includes(word);
      return row.textContent.toLowerCase().includes(word);
    });
  };

  const show = () => {
    const asked = words();
    let hits = 0;
    for (const group of groups) {
      const rows = group.rows();
      const fitting = rows.filter((row) => fits(row, group, asked));
      const shown = new Set(fitting.slice(0, group.few));
      rows.forEach((row) => (row.hidden = !shown.has(row)));
      if (group.by) hits += fitting.length;
      group.none.hidden = fitting.length > 0 || rows.length === 0;
      group.more.hidden = fitting.length <= group.least;
      group.more.textContent = group.few === Infinity ? `Show the first ${group.least}` : `Show all ${fitting.length}`;
    }
    byId("clear").hidden = asked.length === 0;
    byId("matches").textContent = asked.length ? `${hits} ${hits === 1 ? "row fits" : "rows fit"}` : "";
  };

  const filter = (word) => {
    byId("words").value = words().includes(word.toLowerCase()) ? "" : word;
    show();
  };
  document.addEventListener("click", (event) => {
    const asked = event.target.closest("[data-f]");
    if (asked) filter(asked.dataset.f);
  });
  byId("words").addEventListener("input", show);
  byId("clear").addEventListener("click", () => {
    byId("words").value = "";
    show();
    byId("words").focus();
  });
  byId("filter").hidden = false;

  // A click on a head sorts: numbers the largest first, then the other way round.
  const value = (row, column) => {
    const cell = row.cells[column];
    return "v" in cell.dataset ? Number(cell.dataset.v) : cell.textContent.trim();
  };
  const order = new Intl.Collator("en", { numeric: true }).compare;
  for (const button of all("[data-sort]")) {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const body = head.closest("table").tBodies[0];
      const before = head.getAttribute("aria-sort");
      const first = head.classList.contains("n") ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const now = before === first ? other : first;
      all("th", head.parentElement).forEach((th) => th.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", now);
      const sign = now === "ascending" ? 1 : -1;
      const rows = [...body.rows].map((row) => [value(row, head.cellIndex), row]);
      rows.sort(([a], [b]) => sign * (typeof a === "number" && typeof b === "number" ? a - b : order(a, b)));
      body.append(...rows.map(([, row]) => row));
      show();
    });
  }

  // Titles of marks as values that follow the pointer.
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  document.body.append(tip);
  for (const title of all("svg title")) {
    title.parentElement.dataset.t = title.textContent;
    title.remove();
  }
  for (const mark of all(".icicle a")) mark.setAttribute("aria-label", mark.querySelector("[data-t]").dataset.t);
  document.addEventListener("pointermove", (event) => {
    const mark = event.target.closest?.("[data-t]");
    tip.hidden = !mark;
    if (!mark) return;
    tip.textContent = mark.dataset.t;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 4))}px`;
    tip.style.top = `${event.clientY + height + 24 > innerHeight ? event.clientY - height - 10 : event.clientY + 18}px`;
  });

  // The chart by keyboard: left and right go from bar to bar.
  const chart = byId("traffic");
  const bars = chart ? all(".bar", chart) : [];
  if (bars.length) {
    let at = -1;
    const go = (to) => {
      bars[at]?.classList.remove("on");
      at = Math.max(0, Math.min(to, bars.length - 1));
      bars[at].classList.add("on");
      byId("traffic-value").textContent = bars[at].dataset.t;
      chart.setAttribute("aria-valuenow", at + 1);
      chart.setAttribute("aria-valuetext", bars[at].dataset.t);
    };
    chart.setAttribute("tabindex", "0");
    chart.setAttribute("role", "slider");
    chart.setAttribute("aria-valuemin", "1");
    chart.setAttribute("aria-valuemax", bars.length);
    chart.setAttribute("aria-valuenow", "1");
    chart.addEventListener("keydown", (event) => {
      const to = { ArrowLeft: at - 1, ArrowRight: at + 1, PageUp: at - 10, PageDown: at + 10, Home: 0, End: bars.length }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      go(to);
    });
  }
  show();
})();
