"use strict";
// Sorts, filters and opens. Without this script every part of the page is readable, and nothing is hidden.
(() => {
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));

  // Tabs.
  const tabs = all("[role=tab]");
  const show = (tab) => {
    for (const one of tabs) {
      const chosen = one === tab;
      one.setAttribute("aria-selected", String(chosen));
      one.tabIndex = chosen ? 0 : -1;
      document.getElementById(one.getAttribute("aria-controls")).hidden = !chosen;
    }
  };
  if (tabs.length) {
    tabs[0].parentElement.hidden = false;
    show(tabs[0]);
    for (const [i, tab] of tabs.entries()) {
      tab.addEventListener("click", () => show(tab));
      tab.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (!step) return;
        const next = tabs[(i + step + tabs.length) % tabs.length];
        show(next);
        next.focus();
      });
    }
  }

  // Sorting by a column of the leaderboard: by the shown metric, else by the text.
  const valueOf = (row, column, metric) => {
    const cell = row.cells[column];
    const number = cell.querySelector(`.metric[data-metric="${metric}"]`)?.dataset.value;
    return column === 0 ? cell.textContent.trim() : number === undefined ? NaN : Number(number);
  };
  const sort = (board, column, direction) => {
    const table = board.querySelector("table");
    const body = table.tBodies[0];
    const metric = board.dataset.metric;
    const rows = Array.from(body.rows).filter((row) => !row.classList.contains("reference"));
    const compare = (a, b) => {
      const x = valueOf(a, column, metric);
      const y = valueOf(b, column, metric);
      if (column === 0) return direction * x.localeCompare(y);
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);  // without a value: last
      return direction * (x - y);
    };
    body.prepend(...rows.sort(compare));
    for (const [i, heading] of Array.from(table.tHead.rows[0].cells).entries()) {
      if (i === column) heading.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      else heading.removeAttribute("aria-sort");
    }
  };

  // The leaderboard's filters.
  for (const board of all(".board")) {
    const form = board.querySelector("form");
    const rows = all("tbody tr:not(.reference)", board);
    const update = () => {
      const text = form.elements.text.value.trim().toLowerCase();
      const verdict = form.elements.verdict.value;
      for (const row of rows) {
        const named = row.cells[0].textContent.toLowerCase().includes(text);
        row.hidden = !(named && (!verdict || row.dataset.verdicts.split(" ").includes(verdict)));
      }
      const before = board.dataset.metric;
      board.dataset.metric = form.elements.metric.value;
      const sorted = board.querySelector("th[aria-sort]");
      if (sorted && before !== board.dataset.metric) {
        sort(board, sorted.cellIndex, sorted.getAttribute("aria-sort") === "ascending" ? 1 : -1);
      }
      for (const box of all("input[name=restoration]", form)) {
        for (const cell of all(`[data-column="${box.value}"]`, board)) cell.hidden = !box.checked;
      }
      const shown = rows.filter((row) => !row.hidden).length;
      form.querySelector("[role=status]").textContent = `${shown} of ${rows.length} models`;
    };
    form.hidden = false;
    form.addEventListener("input", update);
    form.addEventListener("submit", (event) => event.preventDefault());
    for (const button of all("button.sort", board)) {
      const heading = button.closest("th");
      button.addEventListener("click", () => {
        const first = heading.cellIndex === 0 ? 1 : -1;  // names from A, numbers from the highest
        const same = (heading.getAttribute("aria-sort") === "ascending") === (first > 0);
        const direction = heading.hasAttribute("aria-sort") && same ? -first : first;
        sort(board, heading.cellIndex, direction);
      });
    }
    update();
  }

  // The changed faces' filters.
  const gallery = document.querySelector("#changed-faces form");
  const filterFaces = () => {
    const faces = all("#changed-faces .changed-face");
    for (const face of faces) {
      face.hidden = ["model", "emotion", "direction"].some((name) => {
        const wanted = gallery.elements[name].value;
        return wanted && face.dataset[name] !== wanted;
      });
    }
    const shown = faces.filter((face) => !face.hidden).length;
    gallery.querySelector("[role=status]").textContent = `${shown} of ${faces.length} pictures`;
  };
  if (gallery) {
    gallery.hidden = false;
    gallery.addEventListener("input", filterFaces);
    gallery.addEventListener("submit", (event) => event.preventDefault());
    for (const link of all("[data-show-model]")) {
      link.addEventListener("click", () => {
        gallery.elements.model.value = link.dataset.showModel;
        gallery.elements.emotion.value = gallery.elements.direction.value = "";
        filterFaces();
      });
    }
    filterFaces();
  }

  // A link to a folded part opens it; a link to a part of the report leaves the tab of tests.
  const reveal = () => {
    const target = document.getElementById(location.hash.slice(1));
    if (!target) return;
    if (tabs.length && document.getElementById("report").contains(target)) show(tabs[0]);
    for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
    target.scrollIntoView();
    if (target.classList.contains("subject")) target.querySelector("summary").focus({ preventScroll: true });
  };
  window.addEventListener("hashchange", reveal);
  for (const link of all("a[href^='#']")) {
    link.addEventListener("click", () => { if (link.hash === location.hash) reveal(); });
  }
  reveal();

  // Print everything; restore afterwards what was folded.
  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = all("#report details:not([open])");
    for (const part of folded) part.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const part of folded) part.open = false;
  });

  // A phone has no room for the contents.
  if (window.matchMedia("(max-width: 800px)").matches) document.querySelector(".contents").open = false;

  // pytest-html draws its filters without labels, and lists inside lists that are no items.
  for (const list of all(".pytest-html ul > ul")) {
    const item = document.createElement("li");
    list.replaceWith(item);
    item.append(list);
    if (!list.children.length) item.remove();
  }
  for (const box of all(".pytest-html input[type=checkbox]")) {
    if (!box.labels.length) box.setAttribute("aria-label", box.nextElementSibling?.textContent ?? "filter");
  }
})();
