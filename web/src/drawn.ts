/** Places that were drawn: what becomes of them when they are moved or a corner is pulled, and their marks on the picture. */
import { makeSvg } from "./dom";
import { colourOf, type Answer, type Drawn, type Held, type Pt } from "./kinds";
import { clamp, type Stage } from "./stage";

const SIDES = ["top left", "top right", "bottom right", "bottom left"];

/** The corners that can be pulled; a point and a scribble are moved as a whole. */
export function cornersOf({ kind, points }: Drawn): Pt[] {
  if (kind === "polygon") return points;
  if (kind !== "box") return [];
  const [[x0, y0], [x1, y1]] = points;
  return [
    [x0, y0],
    [x1, y0],
    [x1, y1],
    [x0, y1],
  ];
}

/** A place, moved by so much, or with one of its corners moved; it stays in the picture, and a box no smaller than `least`. */
export function pulled(one: Drawn, corner: number, by: Pt, least: Pt): Drawn {
  if (corner < 0) {
    const [dx, dy] = [0, 1].map((axis) => {
      const values = one.points.map((point) => point[axis]);
      return clamp(by[axis], -Math.min(...values), 1 - Math.max(...values));
    });
    return { ...one, points: one.points.map(([x, y]): Pt => [x + dx, y + dy]) };
  }
  const from = cornersOf(one)[corner];
  const to: Pt = [clamp(from[0] + by[0]), clamp(from[1] + by[1])];
  if (one.kind !== "box") return { ...one, points: one.points.map((point, index) => (index === corner ? to : point)) };
  const [near, far] = one.points.map((point): Pt => [...point]);
  const isFar = [corner === 1 || corner === 2, corner > 1];
  for (const axis of [0, 1]) {
    if (isFar[axis]) far[axis] = Math.max(to[axis], Math.min(1, near[axis] + least[axis]));
    else near[axis] = Math.min(to[axis], Math.max(0, far[axis] - least[axis]));
  }
  return { ...one, points: [near, far] };
}

/** What a held place or corner is called. */
export function nameOf(one: Drawn, corner: number): string {
  const name = `${one.kind} ${one.number}`;
  if (corner < 0) return name;
  return one.kind === "box" ? `${name}, ${SIDES[corner]} corner` : `${name}, corner ${corner + 1} of ${one.points.length}`;
}

/** Where a place or its corner is, in a sentence. */
export function whereIs(one: Drawn, corner: number): string {
  const points = corner < 0 ? one.points : [cornersOf(one)[corner]];
  const [across, down] = [0, 1].map((axis) => {
    const values = points.map((point) => Math.round(point[axis] * 100));
    const [least, most] = [Math.min(...values), Math.max(...values)];
    return least === most ? `${least}` : `${least} to ${most}`;
  });
  return `${nameOf(one, corner)}: ${across} % across, ${down} % down`;
}

/** The marks of all places that were drawn, each with its number, and the corners of the one that is held. Those that only the question shown now
 * spoke of are `past`; what its answer says of a place lights up with it. */
export function drawnMarks(
  drawn: readonly Drawn[],
  asked: readonly Drawn[],
  held: Held | null,
  answer: Answer | undefined,
  stage: Stage,
): [shapes: SVGElement[], pins: SVGElement[]] {
  const shapes: SVGElement[] = [];
  const pins: SVGElement[] = [];
  for (const one of [...asked.filter((place) => !drawn.includes(place)), ...drawn]) {
    const [isPast, isHeld] = [!drawn.includes(one), held?.number === one.number];
    const span = asked.includes(one) ? answer?.spans.findIndex((told) => told.regions.some((place) => place.number === one.number)) : -1;
    const given = {
      class: `drawn ${one.kind}${isPast ? " past" : isHeld ? " held" : ""}`,
      "data-number": one.number,
      ...(span !== undefined && span >= 0 && { "data-span": span, "--c": colourOf(answer!, span) }),
    };
    const layers = ["halo", "line", ...(isPast ? [] : ["hit"])];
    shapes.push(...layers.flatMap((layer) => outline(one, { ...given, class: `${given.class} ${layer}` }, stage)));
    pins.push(pin(one, given, isPast, isHeld));
    if (isHeld && !isPast) pins.push(...cornersOf(one).map((at, corner) => grip(one, corner, at)));
  }
  return [shapes, pins];
}

function outline({ kind, points }: Drawn, given: Record<string, string | number>, stage: Stage): SVGElement[] {
  const { width, height } = stage.picture!;
  if (kind === "point") return [];
  if (kind !== "box")
    return [
      makeSvg(kind === "polygon" ? "polygon" : "polyline", {
        ...given,
        points: points.map(([x, y]) => `${x * width},${y * height}`).join(" "),
      }),
    ];
  const [[x0, y0], [x1, y1]] = points;
  return [makeSvg("rect", { ...given, x: x0 * width, y: y0 * height, width: (x1 - x0) * width, height: (y1 - y0) * height })];
}

/** The number of a place; by it a place that can still be changed is reached by keys. It makes room for a corner that can be pulled. */
function pin(one: Drawn, given: Record<string, string | number>, isPast: boolean, isHeld: boolean): SVGElement {
  const away = isHeld && cornersOf(one).length ? "translate(-15 -15)" : "";
  const keys = { tabindex: 0, role: "button", "aria-pressed": `${isHeld}`, "data-hold": `${one.number} -1`, "aria-label": nameOf(one, -1) };
  return makeSvg(
    "g",
    { ...given, ...(!isPast && keys), "data-at": one.points[0].join(" ") },
    makeSvg(
      "g",
      { class: isPast ? "" : "pin", transform: away },
      makeSvg("circle", { r: 10 }),
      makeSvg("text", { "text-anchor": "middle", dy: "0.35em" }, `${one.number}`),
    ),
  );
}

function grip(one: Drawn, corner: number, at: Pt): SVGElement {
  const keys = { tabindex: 0, role: "button", "data-hold": `${one.number} ${corner}`, "aria-label": nameOf(one, corner) };
  return makeSvg(
    "g",
    { class: "grip", "data-at": at.join(" "), ...keys },
    makeSvg("circle", { r: 15 }),
    makeSvg("circle", { r: 5.5, class: "knob" }),
  );
}
