// Table of a board. Texts of a store become text nodes and attributes; no HTML is ever made from them.

const SVG = "http://www.w3.org/2000/svg";
const BAR_WIDTH = 64;
const BAR_HEIGHT = 14;
const MARGIN = 4;
const GIVEN = "*";
// At most this wide, a table that does not fit becomes cards.
const CARDS_PX = 760;
const LONG_TITLE = 22;

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function draw(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function canvas(width, height, viewBox, className) {
  return draw("svg", { width, height, viewBox, class: className, "aria-hidden": "true", focusable: "false" });
}

function methodMark(row) {
  const svg = canvas(11, 11, "-1.15 -1.15 2.3 2.3", "mark");
  svg.append(draw("path", { d: row.symbol, fill: row.colour }));
  return svg;
}

function intervalBar([low, mean, high], zero) {
  const x = (position) => MARGIN + Math.min(Math.max(position, 0), 1) * (BAR_WIDTH - 2 * MARGIN);
  const middle = BAR_HEIGHT / 2;
  const svg = canvas(BAR_WIDTH, BAR_HEIGHT, `0 0 ${BAR_WIDTH} ${BAR_HEIGHT}`, "bar");
  svg.append(draw("line", { class: "track", x1: x(0), x2: x(1), y1: middle, y2: middle }));
  if (zero !== null) svg.append(draw("line", { class: "zero", x1: x(zero), x2: x(zero), y1: 1, y2: BAR_HEIGHT - 1 }));
  if (high > low) svg.append(draw("line", { class: "interval", x1: x(low), x2: x(high), y1: middle, y2: middle }));
  if (mean > 1.001) svg.append(draw("path", { class: "mean", d: `M${x(1) - 3},${middle - 4}l6,4l-6,4z` }));
  else if (mean < -0.001) svg.append(draw("path", { class: "mean", d: `M${x(0) + 3},${middle - 4}l-6,4l6,4z` }));
  else svg.append(draw("circle", { class: "mean", cx: x(mean), cy: middle, r: 2.5 }));
  return svg;
}

const SIGNS = {
  best: () => make("span", "star", "★"),
  tied: () => make("span", "swatch"),
  bar: () => intervalBar([0.25, 0.5, 0.75], null),
  beyond: () => make("span", "", "◀ ▶"),
  given: () => make("span", "", GIVEN),
  better: () => make("span", "", "↑ ↓"),
};

function legendEntry(entry) {
  const item = make("li");
  const sign = make("span", "sign");
  sign.append(SIGNS[entry.kind]());
  item.append(sign, make("span", "", entry.text));
  return item;
}

function badgeMark(badge) {
  const element = make("span", "badge", badge.name);
  element.title = badge.sentence;
  return element;
}

function headerCell(header, table, send, isNewGroup) {
  const cell = make("th", isNewGroup ? "value starts" : "value");
  cell.scope = "col";
  const isSorted = header.key !== "" && header.key === table.sorted_by;
  if (isSorted) cell.setAttribute("aria-sort", table.order);
  const canSort = table.can_sort && header.key !== "";
  const title = make(canSort ? "button" : "span", "title");
  if (canSort) {
    title.type = "button";
    title.dataset.focus = `sort ${header.key}`;
    title.onclick = () => send("sort", header.key);
  }
  if (header.help) title.title = header.help;
  if (header.title.length > LONG_TITLE) title.classList.add("long");
  title.append(make("span", "", header.title));
  if (isSorted) {
    const sign = make("span", "sorted", table.order === "ascending" ? "▲" : "▼");
    sign.setAttribute("aria-hidden", "true");
    title.append(sign);
  }
  const below = make("span", "below");
  below.append(make("span", "unit", header.unit));
  if (header.ends) {
    const scale = make("span", "scale");
    scale.setAttribute("aria-hidden", "true");
    scale.append(make("span", "", header.ends[0]), make("span", "", header.ends[1]));
    below.append(scale);
  }
  if (header.badge) cell.append(badgeMark(header.badge));
  cell.append(title, below);
  return cell;
}

function groupRow(headers) {
  const row = make("tr", "groups");
  const first = make("td");
  first.colSpan = 2;
  row.append(first);
  let last = null;
  for (const header of headers) {
    if (last !== null && last.dataset.group === header.group) {
      last.colSpan += 1;
      continue;
    }
    last = make(header.group ? "th" : "td", "group");
    last.append(make("span", "", header.group));
    if (header.group) last.scope = "colgroup";
    last.dataset.group = header.group;
    row.append(last);
  }
  return row;
}

function head(table, send) {
  const thead = make("thead");
  if (table.headers.some((header) => header.group)) thead.append(groupRow(table.headers));
  const row = make("tr", "titles");
  const rank = make("th", "rank");
  rank.scope = "col";
  const rankTitle = make("span", "title", "Rank");
  rankTitle.title = table.rank_help;
  rank.append(rankTitle);
  const method = make("th", "method");
  method.scope = "col";
  method.append(make("span", "title", "Method"));
  row.append(rank, method);
  table.headers.forEach((header, index) => {
    const isNewGroup = index === 0 || header.group !== table.headers[index - 1].group;
    row.append(headerCell(header, table, send, isNewGroup));
  });
  thead.append(row);
  return thead;
}

function nameCell(row, send) {
  const cell = make("th", "method");
  cell.scope = "row";
  const inner = make("span", "name");
  const link = make("a", "", row.title);
  link.href = row.link;
  link.dataset.focus = `open ${row.cell_id}`;
  link.onclick = (event) => {
    // A click with a key, or with another button, opens a new tab as everywhere.
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    send("open", row.cell_id);
  };
  inner.append(methodMark(row), link);
  for (const badge of row.badges) inner.append(" ", badgeMark(badge));
  cell.append(inner);
  return cell;
}

function valueCell(value, header, isNewGroup) {
  const cell = make("td", isNewGroup ? "value starts" : "value");
  if (value.is_tied) cell.classList.add("tied");
  if (value.is_best) cell.classList.add("best");
  if (value.help) cell.title = value.help;
  // Beside the number in a card, where the header is far away.
  cell.dataset.title = [header.title, header.badge && `(${header.badge.name})`, header.unit].filter(Boolean).join(" ");
  const inner = make("span", "cell");
  const number = make("span", "number", value.text);
  if (value.is_best) number.prepend(make("span", "star", "★"));
  if (value.is_given) {
    const sign = make("sup", "", GIVEN);
    sign.setAttribute("aria-hidden", "true");
    number.append(sign, make("span", "spoken", " by construction"));
  }
  if (value.spoken) number.append(make("span", "spoken", ` ${value.spoken}`));
  inner.append(number);
  if (value.bar) inner.append(intervalBar(value.bar, header.zero));
  else if (header.ends) inner.append(make("span", "bar"));
  cell.append(inner);
  return cell;
}

function body(section, table, send) {
  const tbody = make("tbody", section.is_muted ? "muted" : "");
  if (section.heading) {
    const row = make("tr", "section");
    const heading = make("th", "", section.heading);
    heading.scope = "rowgroup";
    heading.colSpan = 2 + table.headers.length;
    row.append(heading);
    tbody.append(row);
  }
  for (const row of section.rows) {
    const line = make("tr", "row");
    line.role = "row"; // also as a card
    const rank = make("td", "rank", row.rank);
    if (row.rank_help) rank.title = row.rank_help;
    line.append(rank, nameCell(row, send));
    row.cells.forEach((value, index) => {
      const isNewGroup = index === 0 || table.headers[index].group !== table.headers[index - 1].group;
      line.append(valueCell(value, table.headers[index], isNewGroup));
    });
    tbody.append(line);
  }
  return tbody;
}

const observers = new WeakMap();

// The rows of a narrow page are cards if the columns do not fit.
function fit(board) {
  board.classList.remove("cards");
  board.classList.toggle("cards", board.clientWidth <= CARDS_PX && board.scrollWidth > board.clientWidth + 1);
}

export default function ({ parentElement, data, setTriggerValue }) {
  const board = parentElement.querySelector(".board");
  const focused = (parentElement.activeElement ?? document.activeElement)?.dataset?.focus;
  const scrolled = board.scrollLeft;
  const table = make("table");
  table.append(make("caption", "spoken", data.caption), head(data, setTriggerValue));
  for (const section of data.sections) table.append(body(section, data, setTriggerValue));
  board.replaceChildren(table);
  parentElement.querySelector(".legend").replaceChildren(...data.legend.map(legendEntry));
  fit(board);
  observers.get(board)?.disconnect();
  const observer = new ResizeObserver(() => fit(board));
  observer.observe(board);
  observers.set(board, observer);
  board.scrollLeft = scrolled;
  // The keyboard stays where it was when the rows are sorted again.
  if (focused) {
    const again = [...board.querySelectorAll("[data-focus]")].find((element) => element.dataset.focus === focused);
    again?.focus({ preventScroll: true });
  }
}
