/** One view of the picture: OpenSeadragon moves it, and over it lies a drawing whose marks stay on their places. */
import OpenSeadragon from "openseadragon";
import { makeSvg } from "./dom";
import type { Held, Pt } from "./kinds";
import type { Picture } from "./picture";

// OpenSeadragon adds an inline style unless it finds one that is marked so; the page's policy forbids inline styles.
const marked = document.createElementNS("", "style");
marked.setAttribute("data-openseadragon-mobile-css", "");
document.head.append(marked);

export class Stage {
  readonly viewer: OpenSeadragon.Viewer;
  readonly drawing = makeSvg("svg", { class: "drawing" });
  /** In here a unit is a pixel of the picture. */
  readonly shapes = makeSvg("g");
  /** In here marks keep their size on the screen; each says by `data-at` where it stands. */
  readonly pins = makeSvg("g");
  /** The marks of what was said, and over them those of what was drawn: a group of shapes and one of pins for each. */
  private readonly layers = { said: [makeSvg("g"), makeSvg("g")], drawn: [makeSvg("g"), makeSvg("g")] };
  picture: Picture | null = null;
  private isWhole = true;

  constructor(readonly element: HTMLElement) {
    this.viewer = OpenSeadragon({
      element,
      drawer: "canvas",
      showNavigationControl: false,
      showNavigator: false,
      visibilityRatio: 0.3,
      minZoomImageRatio: 0.6,
      maxZoomPixelRatio: 12,
      animationTime: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 0.6,
      springStiffness: 9,
      imageSmoothingEnabled: true,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
      gestureSettingsTouch: { clickToZoom: false, dblClickToZoom: true },
    } as OpenSeadragon.Options);
    this.drawing.append(this.shapes, this.pins);
    for (const [shapes, pins] of Object.values(this.layers)) {
      this.shapes.append(shapes);
      this.pins.append(pins);
    }
    this.viewer.canvas.append(this.drawing);
    this.viewer.canvas.setAttribute("aria-label", "Picture. Arrows move it, plus and minus zoom, 0 shows the whole.");
    this.viewer.canvas.setAttribute("role", "application");
    this.viewer.addHandler("update-viewport", () => this.settle());
    this.viewer.addHandler("canvas-key", (event) => {
      // OpenSeadragon has further keys, which turn and mirror the picture; letters are the page's.
      const isMove = /^(Arrow.*|[-_+=0])$/.test((event.originalEvent as KeyboardEvent).key);
      event.preventDefaultAction = event.preventDefaultAction || !isMove;
    });
    this.viewer.addHandler(
      "zoom",
      () => (this.isWhole = Math.abs(this.viewer.viewport.getZoom() / this.viewer.viewport.getHomeZoom() - 1) < 0.01),
    );
    let wasWhole = true;
    this.viewer.addHandler("resize", () => (wasWhole = this.isWhole)); // resizing zooms, too
    this.viewer.addHandler("after-resize", () => {
      if (wasWhole) this.viewer.viewport.goHome(true);
      this.settle();
    });
  }

  async show(picture: Picture): Promise<void> {
    this.picture = picture;
    const opened = new Promise<void>((resolve) => this.viewer.addOnceHandler("open", () => resolve()));
    this.viewer.open(picture.tiles() as OpenSeadragon.TileSourceSpecifier);
    await opened;
    this.settle();
  }

  /** Draws the marks of a layer anew; one that has the focus keeps it. */
  draw(layer: "said" | "drawn", shapes: SVGElement[], pins: SVGElement[]): void {
    const hold = this.pins.querySelector<SVGElement>("[data-hold]:focus")?.dataset.hold;
    const [shapesOf, pinsOf] = this.layers[layer];
    shapesOf.replaceChildren(...shapes);
    pinsOf.replaceChildren(...pins);
    this.settle();
    if (hold) this.pins.querySelector<SVGElement>(`[data-hold="${hold}"]`)?.focus({ preventScroll: true });
  }

  /** Gives the focus to the mark of a place, or of its corner. */
  focusOn({ number, corner }: Held): void {
    this.pins.querySelector<SVGElement>(`[data-hold="${number} ${corner}"]`)?.focus({ preventScroll: true });
  }

  /** Puts the drawing where the picture is. */
  settle(): void {
    const item = this.viewer.world.getItemAt(0);
    if (!item || !this.picture) return;
    const corner = this.toScreen([0, 0]);
    const scale = (this.toScreen([1, 1])[0] - corner[0]) / this.picture.width;
    this.shapes.setAttribute("transform", `translate(${corner[0]} ${corner[1]}) scale(${scale})`);
    for (const pin of this.pins.querySelectorAll<SVGElement>("[data-at]")) {
      const [x, y] = this.toScreen(pin.dataset.at!.split(" ").map(Number) as Pt);
      pin.setAttribute("transform", `translate(${x} ${y})`);
    }
  }

  /** From fractions of the picture to pixels of this view. */
  toScreen([x, y]: Pt): Pt {
    const { width, height } = this.picture!;
    const point = this.viewer.viewport.pixelFromPoint(new OpenSeadragon.Point(x, (y * height) / width), true);
    return [point.x, point.y];
  }

  /** From a pointer to fractions of the picture, held inside it. */
  toPicture(event: { clientX: number; clientY: number }): Pt {
    const { width, height } = this.picture!;
    const edge = this.element.getBoundingClientRect();
    const point = this.viewer.viewport.pointFromPixel(new OpenSeadragon.Point(event.clientX - edge.left, event.clientY - edge.top), true);
    return [clamp(point.x), clamp((point.y * width) / height)];
  }

  zoomBy(factor: number): void {
    this.viewer.viewport.zoomBy(factor).applyConstraints();
  }

  home(): void {
    this.viewer.viewport.goHome();
  }
}

export const clamp = (value: number, least = 0, most = 1) => Math.min(most, Math.max(least, value));

/** Two views of one picture move together. */
export function moveTogether(a: Stage, b: Stage): void {
  let leads: Stage = a;
  for (const [one, other] of [
    [a, b],
    [b, a],
  ]) {
    for (const name of ["pointerdown", "wheel", "keydown", "pointerenter"])
      one.element.addEventListener(name, () => (leads = one), { capture: true, passive: true });
    one.viewer.addHandler("viewport-change", () => {
      const areAlike = one.element.clientWidth === other.element.clientWidth && other.viewer.isOpen();
      if (leads !== one || !areAlike) return;
      other.viewer.viewport.zoomTo(one.viewer.viewport.getZoom(true), undefined, true);
      other.viewer.viewport.panTo(one.viewer.viewport.getCenter(true), true);
    });
  }
}
