/** What is drawn on the picture: numbered places that can be changed, named in the question and taken away, and all of that undone. */
import { announce, find, icon, make } from "./dom";
import type { Drawn, Held, Kind, Pt } from "./kinds";
import type { Question } from "./question";

/** What was drawn before a change, and which of it stood in the question. */
interface Step {
  drawn: readonly Drawn[];
  named: Set<number>;
}

export class Sketch {
  drawn: readonly Drawn[] = [];
  held: Held | null = null;
  private past: Step[] = [];
  private future: Step[] = [];
  private last = "";

  constructor(
    private readonly question: () => Question,
    /** Places of earlier questions, whose numbers are not given again. */
    private readonly spoken: () => Drawn[],
    /** The marks are to be drawn anew. */
    private readonly changed: () => void,
    /** A place is to be taken hold of on the picture. */
    private readonly reach: (one: Drawn) => void,
  ) {}

  find(number: number): Drawn | undefined {
    return this.drawn.find((one) => one.number === number);
  }

  add(kind: Kind, points: Pt[]): void {
    const taken = new Set([...this.drawn, ...this.spoken()].map((one) => one.number));
    let number = 1;
    while (taken.has(number)) number++;
    const one = { number, kind, points };
    this.become([...this.drawn, one]);
    this.question().name(one);
    announce(`${kind} ${number} is drawn and stands in the question.`);
  }

  /** Takes up places of earlier questions again; a number that another place has by now stays with that. */
  recall(places: Drawn[]): void {
    const latest = new Map(places.map((one) => [one.number, one]));
    const missing = [...latest.values()].filter((one) => !this.find(one.number));
    if (missing.length) this.become([...this.drawn, ...missing].sort((a, b) => a.number - b.number));
  }

  /** Puts a changed place in its former's stead; changes by the same pull or key are undone as one. */
  change(next: Drawn, by: string): void {
    this.become(
      this.drawn.map((one) => (one.number === next.number ? next : one)),
      by,
    );
  }

  remove(...gone: readonly Drawn[]): void {
    if (!gone.length) return;
    this.become(this.drawn.filter((one) => !gone.includes(one)));
    gone.forEach((one) => this.question().forget(one));
  }

  /** Takes hold of a place or a corner, or lets go. */
  hold(held: Held | null): void {
    if (held?.number === this.held?.number && held?.corner === this.held?.corner) return;
    this.held = held;
    this.changed();
  }

  name(one: Drawn): void {
    this.question().name(one);
    announce(`${one.kind} ${one.number} stands in the question.`);
  }

  /** For another picture. */
  empty(): void {
    [this.past, this.future, this.drawn, this.held, this.last] = [[], [], [], null, ""];
    this.changed();
  }

  undo(): void {
    announce(this.travel(this.past, this.future) ? "Undone." : "There is nothing to undo.");
  }

  redo(): void {
    announce(this.travel(this.future, this.past) ? "Done again." : "There is nothing to do again.");
  }

  private travel(from: Step[], to: Step[]): boolean {
    const step = from.pop();
    if (!step) return false;
    to.push(this.now());
    const before = this.drawn;
    this.put(step.drawn);
    before.filter((one) => !this.find(one.number)).forEach((one) => this.question().forget(one));
    const back = this.drawn.filter((one) => !before.some((other) => other.number === one.number));
    back.filter((one) => step.named.has(one.number)).forEach((one) => this.question().name(one));
    return true;
  }

  private become(next: readonly Drawn[], by = ""): void {
    if (!by || by !== this.last) this.past.push(this.now());
    this.future = [];
    this.put(next);
    this.last = by;
  }

  private put(next: readonly Drawn[]): void {
    this.drawn = next;
    this.last = "";
    if (this.held && !this.find(this.held.number)) this.held = null;
    this.changed();
  }

  private now(): Step {
    const named = this.question().parts.filter((part): part is Drawn => typeof part !== "string");
    return { drawn: this.drawn, named: new Set(named.map((one) => one.number)) };
  }

  /** The row of all places, each with what can be done with it. */
  list(): void {
    const button = (given: object, ...content: Node[]) => make("button", { type: "button", ...given }, ...content);
    const rows = this.drawn.map((one) => {
      const name = `${one.kind} ${one.number}`;
      return make(
        "li",
        {},
        button(
          { class: "name", title: "Put into the question", click: () => this.name(one) },
          make("span", { class: "chip" }, `${one.number}`),
          document.createTextNode(` ${one.kind}`),
        ),
        button({ title: "Move or reshape", "aria-label": `Change ${name}`, click: () => this.reach(one) }, icon("edit")),
        button({ title: "Remove", "aria-label": `Remove ${name}`, click: () => this.remove(one) }, icon("cross")),
      );
    });
    find("drawn").replaceChildren(...rows);
  }
}
