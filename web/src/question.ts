/** The field for the question: words with drawn places among them, as chips. */
import { make } from "./dom";
import type { Drawn, Parts } from "./kinds";

export class Question {
  private caret: Range | null = null;

  constructor(
    private readonly field: HTMLElement,
    private readonly drawn: () => readonly Drawn[],
    sent: () => void,
  ) {
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      sent();
    });
    field.addEventListener("paste", (event) => {
      if (event.clipboardData?.files.length) return; // a picture is for the page
      event.preventDefault();
      this.insert(document.createTextNode(event.clipboardData?.getData("text/plain") ?? ""));
    });
    field.addEventListener("drop", (event) => event.preventDefault());
    field.addEventListener("input", () => this.changed());
    document.addEventListener("selectionchange", () => {
      const selection = getSelection();
      if (selection?.rangeCount && field.contains(selection.anchorNode)) this.caret = selection.getRangeAt(0).cloneRange();
    });
    this.changed();
  }

  /** Words and places in their order; texts are joined, and blank at neither end. */
  get parts(): Parts {
    const parts: (string | Drawn)[] = [];
    const add = (part: string | Drawn) => {
      const last = parts[parts.length - 1];
      if (typeof part === "string" && typeof last === "string") parts[parts.length - 1] = last + part;
      else if (part !== "") parts.push(part);
    };
    const read = (node: Node) => {
      if (node instanceof HTMLElement && node.dataset.number) {
        const place = this.drawn().find((one) => one.number === Number(node.dataset.number));
        if (place) add(place);
      } else if (node instanceof HTMLBRElement) add("\n");
      else if (node instanceof Text) add(node.data.replaceAll("\u00a0", " "));
      else {
        if (node instanceof HTMLDivElement && node !== this.field && parts.length) add("\n");
        node.childNodes.forEach(read);
      }
    };
    read(this.field);
    return trimmed(parts);
  }

  /** The words alone. */
  get words(): string {
    return this.parts
      .map((part) => (typeof part === "string" ? part : ""))
      .join("")
      .trim();
  }

  /** Puts a place where the caret was last; into an empty field, with a question about it. */
  name(place: Drawn): void {
    if (!this.parts.length) return this.fill(["What is ", place, "?"]);
    const before = this.parts[this.parts.length - 1];
    if (!this.caret && typeof before === "string" && !before.endsWith(" ")) this.insert(document.createTextNode(" "));
    this.insert(chip(place));
  }

  fill(parts: Parts): void {
    this.field.replaceChildren(...parts.map((part) => (typeof part === "string" ? document.createTextNode(part) : chip(part))));
    this.caret = null;
    this.changed();
  }

  /** Takes the chips of a place away. */
  forget(place: Drawn): void {
    this.field.querySelectorAll(`[data-number="${place.number}"]`).forEach((one) => one.remove());
    const isAlone = this.parts.every((part) => typeof part === "string");
    if (isAlone && this.words.replace(/\s/g, "") === "Whatis?") this.field.replaceChildren(); // what the page wrote itself
    this.changed();
  }

  private insert(node: Node): void {
    const range = this.caret && this.field.contains(this.caret.startContainer) ? this.caret : document.createRange();
    if (range !== this.caret) {
      range.selectNodeContents(this.field);
      range.collapse(false);
    }
    range.deleteContents();
    range.insertNode(node);
    range.collapse(false);
    this.caret = range.cloneRange();
    if (document.activeElement === this.field) {
      getSelection()?.removeAllRanges();
      getSelection()?.addRange(range);
    }
    this.changed();
  }

  private changed(): void {
    this.field.classList.toggle("is-empty", !this.parts.length);
    this.field.dispatchEvent(new Event("change"));
  }
}

/** A drawn place in words: its number, in a form that cannot be edited. */
export function chip(place: Drawn): HTMLElement {
  return make(
    "span",
    { class: "chip", contenteditable: "false", "data-number": place.number, role: "img", "aria-label": `${place.kind} ${place.number}` },
    `${place.number}`,
  );
}

function trimmed(parts: Parts): Parts {
  const [first, last] = [0, parts.length - 1];
  return parts
    .map((part, index) =>
      typeof part !== "string"
        ? part
        : index === first && index === last
          ? part.trim()
          : index === first
            ? part.trimStart()
            : index === last
              ? part.trimEnd()
              : part,
    )
    .filter((part) => part !== "");
}
