/** Elements in one expression. */

type Content = Node | string | null | false | undefined;
type Given = Record<string, string | number | boolean | EventListener | undefined>;

function fill<E extends Element>(element: E, given: Given, content: Content[]): E {
  for (const [name, value] of Object.entries(given)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (name.startsWith("--")) (element as Element as HTMLElement).style.setProperty(name, String(value));
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...content.filter((one): one is Node | string => one !== null && one !== undefined && one !== false));
  return element;
}

/** `make("button", { class: "small", click: () => … }, "Words")`: attributes, listeners, and properties of style that begin with "--". */
export function make<K extends keyof HTMLElementTagNameMap>(name: K, given: Given = {}, ...content: Content[]): HTMLElementTagNameMap[K] {
  return fill(document.createElement(name), given, content);
}

export function makeSvg<K extends keyof SVGElementTagNameMap>(name: K, given: Given = {}, ...content: Content[]): SVGElementTagNameMap[K] {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), given, content);
}

/** The element of the page with this id. */
export function find<E extends HTMLElement = HTMLElement>(id: string): E {
  return document.getElementById(id) as E;
}

export function icon(name: string): SVGElement {
  return makeSvg("svg", { class: "icon", "aria-hidden": "true" }, makeSvg("use", { href: `#icon-${name}` }));
}

/** What a screen reader says, and what stands in the line below the picture for a while. */
export function announce(sentence: string): void {
  find("status").textContent = sentence;
  find("status").classList.toggle("said", sentence !== "");
}
