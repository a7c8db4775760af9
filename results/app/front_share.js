// Copies the address of the page, and saves the front's plot and values as files. Nothing leaves the browser.

const PLOT = ".st-key-front_plot [data-testid=stVegaLiteChart] svg.marks";
const SAID_MS = 2000;
const PNG_SCALE = 2;
const MARGIN_PX = 12;

function save(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 0);
}

function drawing(plot) {
  const { color, fontFamily } = getComputedStyle(plot);
  const page = getComputedStyle(document.querySelector("[data-testid=stApp]")).backgroundColor;
  const copy = plot.cloneNode(true);
  const [width, height] = ["width", "height"].map((name) => plot[name].baseVal.value + 2 * MARGIN_PX);
  copy.setAttribute("width", width);
  copy.setAttribute("height", height);
  copy.setAttribute("viewBox", `${-MARGIN_PX} ${-MARGIN_PX} ${width} ${height}`);
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  // "currentColor" is the colour of the page's text, which a file does not have.
  copy.setAttribute("style", `background-color: ${page}; color: ${color}; font-family: ${fontFamily}`);
  return new Blob([new XMLSerializer().serializeToString(copy)], { type: "image/svg+xml" });
}

async function bitmap(blob) {
  const image = new Image();
  image.src = URL.createObjectURL(blob);
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [PNG_SCALE * image.width, PNG_SCALE * image.height];
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(image.src);
  return new Promise((resolve) => canvas.toBlob(resolve));
}

// A page without measurements has no plot.
function savePlot(act) {
  const plot = document.querySelector(PLOT);
  if (plot) act(plot);
}

async function copyAddress(button, share) {
  try {
    await navigator.clipboard.writeText(location.href);
  } catch {
    // Browsers keep the clipboard from pages without encryption: the reader copies the selected text.
    const field = share.querySelector("input") ?? document.createElement("input");
    field.value = location.href;
    field.readOnly = true;
    field.ariaLabel = "Address of this view";
    share.prepend(field);
    field.focus();
    field.select();
    return;
  }
  const text = button.textContent;
  [button.textContent, button.ariaLabel] = ["Copied", "Copied"];
  setTimeout(() => { [button.textContent, button.ariaLabel] = [text, button.title]; }, SAID_MS);
}

function make(text, title, act) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  [button.title, button.ariaLabel] = [title, title];
  button.addEventListener("click", () => act(button));
  return button;
}

export default function ({ parentElement, data }) {
  const share = parentElement.querySelector(".share");
  share.replaceChildren(
    make("Copy link", "Copy the address, which holds this view", (button) => copyAddress(button, share)),
    make("↓ PNG", "Save the plot as a picture", () => savePlot(async (plot) => save(`${data.name}.png`, await bitmap(drawing(plot))))),
    make("↓ SVG", "Save the plot as a vector drawing", () => savePlot((plot) => save(`${data.name}.svg`, drawing(plot)))),
    make("↓ CSV", "Save the values of the plot", () => save(`${data.name}.csv`, new Blob([data.csv], { type: "text/csv" }))),
  );
}
