// Sorting, filtering and hover. Every page works without this file. Data is written as text, never as markup.
"use strict";

function sortTable(table, column, header) {
  const isDown = header.getAttribute("aria-sort") ? header.getAttribute("aria-sort") === "ascending" : header.dataset.sort === "down";
  const isText = header.dataset.sort === "text";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", isDown ? "descending" : "ascending");
  const sign = isDown ? -1 : 1;
  const key = (row) => (isText ? row.cells[column].textContent.trim() : parseFloat(row.cells[column].dataset.v));
  const compare = (a, b) => {
    const [x, y] = [key(a), key(b)];
    if (isText) return sign * x.localeCompare(y);
    // Rows without the value come last in both directions.
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    return sign * (x - y);
  };
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
    body.append(...rows.sort(compare));
  }
}

function makeSortable(table) {
  [...table.tHead.rows[0].cells].forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => sortTable(table, column, header));
  });
}

function makeFilter(input) {
  const table = document.getElementById(input.dataset.filter);
  input.parentElement.hidden = false;
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    for (const body of table.tBodies) {
      for (const row of body.rows) {
        if (!row.classList.contains("group")) row.hidden = !row.textContent.toLowerCase().includes(wanted);
      }
    }
  });
}

function makeHover(canvas) {
  const tip = canvas.querySelector(".tip");
  const hide = () => { tip.hidden = true; };
  const show = (mark) => {
    tip.textContent = mark.dataset.tip;
    tip.hidden = false;
    const frame = canvas.getBoundingClientRect();
    const at = (mark.querySelector("path[transform]") || mark.querySelector("text")).getBoundingClientRect();
    const right = at.right - frame.left + 12;
    const isLeft = right + tip.offsetWidth > frame.width;
    const left = isLeft ? Math.max(at.left - frame.left - tip.offsetWidth - 12, 0) : right;
    const top = Math.min(Math.max(at.top - frame.top - 8, 0), Math.max(frame.height - tip.offsetHeight, 0));
    tip.style.left = `${left + canvas.scrollLeft}px`;
    tip.style.top = `${top}px`;
  };
  for (const mark of canvas.querySelectorAll(".mark")) {
    mark.addEventListener("pointerenter", () => show(mark));
    mark.addEventListener("pointerleave", hide);
    mark.addEventListener("focus", () => show(mark));
    mark.addEventListener("blur", hide);
  }
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
}

function makeKeys(cards) {
  document.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input")) return;
    const here = cards.indexOf(document.activeElement.closest(".card"));
    const next = cards[Math.min(Math.max(here + step, 0), cards.length - 1)];
    // An enlarged unit hands this over to the next one.
    if (document.querySelector(".card:target")) location.hash = next.id;
    next.querySelector("h3 a").focus();
    next.scrollIntoView({ block: "nearest" });
  });
}

document.querySelectorAll("table[data-sortable]").forEach(makeSortable);
document.querySelectorAll("input[data-filter]").forEach(makeFilter);
document.querySelectorAll(".canvas").forEach(makeHover);
const unitCards = [...document.querySelectorAll(".card")];
if (unitCards.length) makeKeys(unitCards);
