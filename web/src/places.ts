/** The places of an answer's words, drawn on the picture; a place and its words light up together. */
import { makeSvg } from "./dom";
import { colourOf, isBelow, scoreOf, type Answer, type Place, type Pt } from "./kinds";
import { outlinesOf } from "./masks";
import type { Stage } from "./stage";

/** So many places may bear their words all the time. */
const FEW = 12;

const outlines = new WeakMap<object, string>();

/** The path around a mask, in pixels of a picture; made once. */
export function maskPath(place: Place, width: number, height: number): string {
  const mask = place.mask!;
  if (!outlines.has(mask)) {
    const ways = outlinesOf(mask).map(
      (way) => `M${way.map(([x, y]) => `${(x * width).toFixed(1)} ${(y * height).toFixed(1)}`).join("L")}Z`,
    );
    outlines.set(mask, ways.join(""));
  }
  return outlines.get(mask)!;
}

/** The point that stands for a place: itself, or the middle of its box. */
export function middleOf(place: Place): Pt | null {
  if (place.point) return place.point as Pt;
  if (place.box && !place.polygon) return [(place.box[0] + place.box[2]) / 2, (place.box[1] + place.box[3]) / 2];
  return (place.polygon ?? place.scribble ?? place.trace)?.[0] ?? null;
}

/** Marks of all places of an answer: shapes that grow with the picture, and pins that keep their size. */
export function answerMarks(answer: Answer, stage: Stage): [shapes: SVGElement[], pins: SVGElement[]] {
  if (answer.isTrace) return traceMarks(answer, stage);
  const shapes: SVGElement[] = [];
  const pins: SVGElement[] = [];
  const areFew = answer.spans.reduce((sum, span) => sum + (isBelow(answer, span) ? 0 : span.regions.length), 0) <= FEW;
  answer.spans.forEach((span, index) => {
    if (isBelow(answer, span)) return;
    const words = answer.text.slice(span.start, span.end).trim() || "place";
    for (const place of span.regions) {
      if (place.number) continue; // it is on the picture already, as it was drawn
      const score = place.score ?? scoreOf(span);
      const given = { class: "place", "data-span": index, "--c": colourOf(answer, index), tabindex: 0, role: "img", "aria-label": words };
      shapes.push(...shapesOf(place, given, stage));
      if (place.point) pins.push(makeSvg("g", { ...given, "data-at": place.point.join(" ") }, makeSvg("circle", { r: 7 })));
      else if (place.box)
        pins.push(label(`${words}${typeof score === "number" ? ` ${score.toFixed(2)}` : ""}`, given, [place.box[0], place.box[1]], areFew));
    }
  });
  return [shapes, pins];
}

function shapesOf(place: Place, given: Record<string, string | number>, stage: Stage): SVGElement[] {
  const { width, height } = stage.picture!;
  const made: SVGElement[] = [];
  if (place.point) return made;
  if (place.mask) made.push(makeSvg("path", { ...given, class: "place mask", d: maskPath(place, width, height), "fill-rule": "evenodd" }));
  if (place.box) {
    const [x0, y0, x1, y1] = place.box;
    const sides = { x: x0 * width, y: y0 * height, width: (x1 - x0) * width, height: (y1 - y0) * height };
    if (!place.mask) made.push(makeSvg("rect", { class: "under", ...sides }));
    made.push(
      makeSvg("rect", { ...given, class: place.mask ? "place around" : "place box", ...sides, ...(place.mask && { tabindex: -1 }) }),
    );
  }
  return made;
}

/** The words of a place, at its corner; where there are many they show only when it is lit. */
function label(words: string, given: Record<string, string | number>, at: Pt, isShown: boolean): SVGElement {
  const shown = words.length > 40 ? `${words.slice(0, 39)}…` : words;
  const { tabindex: _, role: __, ...quiet } = given;
  const plate = makeSvg("rect", { x: 0, y: -20, rx: 4, height: 20, width: shown.length * 7 + 12 });
  return makeSvg(
    "g",
    { ...quiet, class: `label${isShown ? " shown" : ""}`, "data-at": at.join(" "), "aria-hidden": "true" },
    plate,
    makeSvg("text", { x: 6, y: -6 }, shown),
  );
}

/** The way through the picture that the words took, up to the last that has been played. */
function traceMarks(answer: Answer, stage: Stage): [SVGElement[], SVGElement[]] {
  const { width, height } = stage.picture!;
  const shapes: SVGElement[] = [];
  const pins: SVGElement[] = [];
  let before: Pt | null = null;
  answer.spans.slice(0, answer.played).forEach((span, index) => {
    if (isBelow(answer, span)) return;
    const middle = span.regions[0] && middleOf(span.regions[0]);
    if (!middle) return;
    const given = { "data-span": index, "--c": colourOf(answer, index) };
    if (before) {
      const way = { x1: before[0] * width, y1: before[1] * height, x2: middle[0] * width, y2: middle[1] * height };
      shapes.push(makeSvg("line", { class: "way under", ...way }), makeSvg("line", { ...given, class: "way", ...way }));
    }
    const words = answer.text.slice(span.start, span.end).trim();
    const isNow = index === answer.played - 1 && answer.played < answer.spans.length;
    const dot = makeSvg("circle", { r: isNow ? 8 : 4.5 });
    pins.push(
      makeSvg(
        "g",
        { ...given, class: `place stop${isNow ? " now" : ""}`, "data-at": middle.join(" "), role: "img", "aria-label": words },
        dot,
      ),
    );
    pins.push(label(words, given, middle, isNow));
    const box = span.regions[0].point ? [] : shapesOf(span.regions[0], { ...given, "aria-label": words, tabindex: -1 }, stage);
    shapes.push(...box.filter((shape) => !shape.classList.contains("under")));
    if (!isNow) box.forEach((shape) => shape.classList.add("faint"));
    before = middle;
  });
  return [shapes, pins];
}
