/** An answer's words: every phrase with a place is coloured as its place. */
import { make } from "./dom";
import { colourOf, isBelow, scoreOf, type Answer } from "./kinds";

/** The text as elements; phrases can be reached by keys. */
export function wordsOf(answer: Answer): (Node | string)[] {
  const made: (Node | string)[] = [];
  let at = 0;
  answer.spans.forEach((span, index) => {
    if (span.start < at || !span.regions.length) return; // phrases within phrases are told by the outer one
    made.push(answer.text.slice(at, span.start));
    const score = scoreOf(span);
    const isWaiting = answer.isTrace && index >= answer.played;
    const words = answer.text.slice(span.start, span.end);
    at = span.end;
    if (!words.trim()) return made.push(words);
    const given = {
      class: `phrase${isBelow(answer, span) ? " below" : ""}${isWaiting ? " waiting" : ""}`,
      "data-span": index,
      "--c": colourOf(answer, index),
    };
    return made.push(make("span", { ...given, tabindex: 0, title: score === null ? undefined : `score ${score.toFixed(2)}` }, words));
  });
  made.push(answer.text.slice(at));
  return made;
}

/** Lights up a phrase and its places, wherever they stand in `parts`; -1 for none. */
export function light(parts: Iterable<Element>, span: number): void {
  for (const part of parts) {
    part.classList.toggle("has-lit", span >= 0);
    for (const one of part.querySelectorAll("[data-span]")) one.classList.toggle("lit", Number((one as HTMLElement).dataset.span) === span);
  }
}

/** Whenever a phrase or place within `part` is pointed at or has the focus, `lit` hears its number, and -1 after. */
export function listen(part: Element, lit: (span: number) => void): void {
  const spanAt = (event: Event) => (event.target as Element).closest<HTMLElement>("[data-span]")?.dataset.span;
  for (const name of ["pointerover", "focusin", "click"]) {
    part.addEventListener(name, (event) => spanAt(event) !== undefined && lit(Number(spanAt(event))));
  }
  for (const name of ["pointerout", "focusout"]) part.addEventListener(name, (event) => spanAt(event) !== undefined && lit(-1));
}
