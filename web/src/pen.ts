/** Drawing places on the picture: points, boxes, polygons and scribbles, by mouse, finger or keys. */
import { announce, makeSvg } from "./dom";
import type { Kind, Pt } from "./kinds";
import { clamp, type Stage } from "./stage";

const NEAR_PX = 10;

export class Pen {
  kind: Kind | null = null;
  private points: Pt[] = [];
  private at: Pt = [0.5, 0.5];
  private isHeld = false;
  private readonly shape = makeSvg("polyline", { class: "pen" });
  private readonly cursor = makeSvg("path", { class: "cursor", d: "M-12 0H-3M3 0H12M0-12V-3M0 3V12" });

  constructor(
    private readonly stage: Stage,
    private readonly finished: (kind: Kind, points: Pt[]) => void,
  ) {
    stage.shapes.append(this.shape);
    stage.pins.append(this.cursor);
    const { drawing, element } = stage;
    drawing.addEventListener("pointerdown", (event) => this.byPointer(event, () => this.down(stage.toPicture(event))));
    drawing.addEventListener("pointermove", (event) => this.byPointer(event, () => this.move(stage.toPicture(event))));
    drawing.addEventListener("pointerup", (event) => this.byPointer(event, () => this.up()));
    drawing.addEventListener("pointercancel", () => this.cancel());
    drawing.addEventListener("dblclick", (event) => this.kind && (event.stopPropagation(), this.close()));
    element.addEventListener("keydown", (event) => this.byKey(event), { capture: true });
    stage.viewer.addHandler("update-viewport", () => this.draw());
  }

  /** Takes up a tool, or none: then the picture is moved. */
  take(kind: Kind | null): void {
    this.cancel();
    this.kind = kind;
    this.stage.element.classList.toggle("is-drawn-on", kind !== null);
    this.draw();
  }

  cancel(): void {
    this.points = [];
    this.isHeld = false;
    this.draw();
  }

  private byPointer(event: PointerEvent, work: () => void): void {
    if (!this.kind || !this.stage.picture || event.button > 0) return;
    event.stopPropagation();
    if (event.type === "pointerdown") {
      this.stage.viewer.canvas.focus();
      this.stage.drawing.setPointerCapture(event.pointerId);
    }
    work();
  }

  private byKey(event: KeyboardEvent): void {
    const isOnMark = (event.target as Element).closest("[data-hold]") !== null; // that is moved by these keys
    if (!this.kind || !this.stage.picture || isOnMark || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = event.shiftKey ? 0.05 : 0.01;
    const ways: Record<string, Pt> = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.key in ways) {
      this.move([clamp(this.at[0] + ways[event.key][0]), clamp(this.at[1] + ways[event.key][1])]);
      announce(`${Math.round(this.at[0] * 100)} % across, ${Math.round(this.at[1] * 100)} % down`);
    } else if (event.key === "Enter" || event.key === " ") {
      const isSame = this.kind === "polygon" && this.points.length > 2 && this.isNear(this.points[this.points.length - 1]);
      if (isSame) this.close();
      else {
        this.down(this.at);
        this.up();
      }
    } else if (event.key === "Escape" && this.points.length) this.cancel();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  // A box and a scribble are drawn in one pull, or by a click at either end: so they can be drawn by keys too.
  private down(point: Pt): void {
    this.at = point;
    const begun = this.points.length > 0;
    if (this.kind === "point") return this.finish([point]);
    if (this.kind === "polygon") {
      if (this.points.length > 2 && this.isNear(this.points[0])) return this.close();
      this.points.push(point);
    } else if (begun) return this.end();
    else {
      this.points = [point];
      this.isHeld = true;
    }
    this.draw();
  }

  private move(point: Pt): void {
    this.at = point;
    if (this.kind === "scribble" && this.points.length && !this.isNear(this.points[this.points.length - 1], 3)) this.points.push(point);
    this.draw();
  }

  private up(): void {
    const wasPulled = this.isHeld && this.points.length > 0 && !this.isNear(this.points[0], 4);
    const wasScribbled = this.isHeld && this.kind === "scribble" && this.points.length > 2;
    this.isHeld = false;
    if (this.kind === "polygon" || this.kind === "point") return;
    if (wasPulled || wasScribbled) this.end();
  }

  private end(): void {
    if (this.kind === "scribble") return this.finish(this.points.length > 1 ? this.points : [this.points[0], this.at]);
    const [[x0, y0], [x1, y1]] = [this.points[0], this.at];
    const corners: Pt[] = [
      [Math.min(x0, x1), Math.min(y0, y1)],
      [Math.max(x0, x1), Math.max(y0, y1)],
    ];
    if (corners[0][0] < corners[1][0] && corners[0][1] < corners[1][1]) this.finish(corners);
  }

  private close(): void {
    const corners = this.points.filter((point, index) => index === 0 || !this.isNear(point, 2, this.points[index - 1]));
    if (this.kind === "polygon" && corners.length > 2) this.finish(corners);
  }

  private finish(points: Pt[]): void {
    const kind = this.kind!;
    this.cancel();
    this.finished(kind, thinned(points));
  }

  private isNear(point: Pt, most = NEAR_PX, from = this.at): boolean {
    const [a, b] = [this.stage.toScreen(point), this.stage.toScreen(from)];
    return Math.hypot(a[0] - b[0], a[1] - b[1]) <= most;
  }

  private draw(): void {
    const { picture } = this.stage;
    if (!picture) return;
    const [[x0, y0], [x1, y1]] = [this.points[0] ?? this.at, this.at];
    const box: Pt[] = [
      [x0, y0],
      [x1, y0],
      [x1, y1],
      [x0, y1],
      [x0, y0],
    ];
    const way = !this.points.length ? [] : this.kind === "box" ? box : this.kind === "polygon" ? [...this.points, this.at] : this.points;
    this.shape.setAttribute("points", way.map(([x, y]) => `${x * picture.width},${y * picture.height}`).join(" "));
    this.cursor.classList.toggle("shown", this.kind !== null);
    this.cursor.dataset.at = this.at.join(" ");
    const [x, y] = this.stage.toScreen(this.at);
    this.cursor.setAttribute("transform", `translate(${x} ${y})`);
  }
}

/** At most 256 points of a line, its ends among them. */
function thinned(points: Pt[], most = 256): Pt[] {
  if (points.length <= most) return points;
  return Array.from({ length: most }, (_, index) => points[Math.round((index * (points.length - 1)) / (most - 1))]);
}
