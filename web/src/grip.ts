/** Changing what was drawn, by mouse, finger or keys: a place is held and moved, and its corners are pulled. */
import { announce } from "./dom";
import { pulled, whereIs } from "./drawn";
import type { Drawn, Held, Pt } from "./kinds";
import type { Sketch } from "./sketch";
import type { Stage } from "./stage";

/** A step by keys, in pixels of the screen: zoomed in, it is finer. */
const STEP_PX = 4;
const WAYS: Record<string, Pt> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Grip {
  private pull: { pointer: number; begun: { x: number; y: number }; from: Pt; one: Drawn; corner: number; by: string } | null = null;
  private pulls = 0;

  constructor(
    private readonly stage: Stage,
    private readonly sketch: Sketch,
  ) {
    const { drawing, element } = stage;
    drawing.addEventListener("pointerdown", (event) => this.down(event));
    drawing.addEventListener("mousedown", (event) => this.pull && event.preventDefault()); // or the picture takes the focus
    drawing.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"] as const) drawing.addEventListener(name, (event) => this.up(event));
    element.addEventListener("focusin", ({ target }) => {
      const held = heldBy(target);
      if (held) sketch.hold(held);
    });
    element.addEventListener("keydown", (event) => this.byKey(event), { capture: true });
    stage.viewer.addHandler("canvas-click", ({ quick }) => quick && sketch.hold(null));
  }

  private down(event: PointerEvent): void {
    const held = heldBy(event.target);
    const one = held && this.sketch.find(held.number);
    if (!one || this.pull || event.button > 0) return;
    event.stopPropagation();
    this.stage.drawing.setPointerCapture(event.pointerId);
    const begun = { x: event.clientX, y: event.clientY };
    this.pull = {
      pointer: event.pointerId,
      begun,
      from: this.stage.toPicture(event),
      one,
      corner: held.corner,
      by: `pull ${++this.pulls}`,
    };
    this.sketch.hold(held);
    this.stage.focusOn(held);
  }

  private move(event: PointerEvent): void {
    if (event.pointerId !== this.pull?.pointer) return;
    event.stopPropagation();
    const { begun, from, one, corner, by } = this.pull;
    const isStill = this.sketch.find(one.number) === one && Math.hypot(event.clientX - begun.x, event.clientY - begun.y) < 3;
    if (isStill) return;
    const [x, y] = this.stage.toPicture(event);
    this.sketch.change(pulled(one, corner, [x - from[0], y - from[1]], this.fractions(2)), by);
  }

  private up(event: PointerEvent): void {
    if (event.pointerId !== this.pull?.pointer) return;
    event.stopPropagation();
    const { one, corner } = this.pull;
    const now = this.sketch.find(one.number);
    this.pull = null;
    if (now && now !== one) announce(whereIs(now, corner));
  }

  private byKey(event: KeyboardEvent): void {
    const held = heldBy(event.target);
    const one = held && this.sketch.find(held.number);
    if (!one || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in WAYS) {
      const [x, y] = this.fractions(event.shiftKey ? 6 * STEP_PX : STEP_PX);
      const [right, below] = WAYS[event.key];
      this.sketch.change(pulled(one, held.corner, [right * x, below * y], this.fractions(2)), `keys ${held.number} ${held.corner}`);
      announce(whereIs(this.sketch.find(held.number)!, held.corner));
    } else if (event.key === "Enter" || event.key === " ") this.sketch.name(one);
    else if (event.key === "Delete" || event.key === "Backspace" || event.key === "Escape") {
      if (event.key === "Escape") this.sketch.hold(null);
      else this.sketch.remove(one);
      this.stage.viewer.canvas.focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** So many pixels of the screen, in fractions of the picture. */
  private fractions(pixels: number): Pt {
    const [[x0, y0], [x1, y1]] = [this.stage.toScreen([0, 0]), this.stage.toScreen([1, 1])];
    return [pixels / (x1 - x0), pixels / (y1 - y0)];
  }
}

/** The place, or the corner of one, whose mark an event is about. */
function heldBy(target: EventTarget | null): Held | null {
  const mark = target instanceof Element ? target.closest<SVGElement>("[data-hold], .drawn.hit") : null;
  if (!mark) return null;
  const [number, corner] = (mark.dataset.hold ?? `${mark.dataset.number} -1`).split(" ").map(Number);
  return { number, corner };
}
