/** The history of the session: each turn a card with the question, the answers of one or two models, and what can be done with them. */
import { key } from "./api";
import { asCurl, asPython } from "./calls";
import { announce, find, icon, make } from "./dom";
import { asCoco, asJson, asLabelStudio, asPng, save } from "./exports";
import { hasScores, isBelow, type Answer, type Turn } from "./kinds";
import { SAID } from "./picker";
import { chip } from "./question";
import { light, listen, wordsOf } from "./words";

const STEP_MS = 170;
const isCalm = matchMedia("(prefers-reduced-motion: reduce)");

/** What the page does about a card. */
export interface Wishes {
  show(turn: Turn): void;
  remove(turn: Turn): void;
  /** The marks of an answer are to be drawn anew. */
  marks(turn: Turn, answer: Answer): void;
  /** The next question is to go on from a turn. */
  goOn(turn: Turn): void;
  /** The drawing of the picture in which an answer's marks are, or null where it is not shown. */
  drawing(turn: Turn, answer: Answer): Element | null;
}

export class Card {
  readonly element: HTMLElement;
  private readonly bodies = new Map<Answer, HTMLElement>();
  private timers = new Map<Answer, number>();

  constructor(
    readonly turn: Turn,
    private readonly wishes: Wishes,
  ) {
    const asked = turn.question.map((part) => (typeof part === "string" ? part : chip(part)));
    const verb = turn.verb === "ask" ? null : make("span", { class: "verb" }, SAID[turn.verb]);
    const thumbnail = make("img", { src: turn.picture.thumbnail, alt: "", width: 40, height: 40 });
    const question = make("span", { class: "asked" }, verb, ...asked);
    const from = turn.after && make("span", { class: "from", title: `Goes on from “${titleOf(turn.after)}”` }, icon("on"));
    if (from) from.append(make("span", { class: "unseen" }, `${from.title}: `));
    const head = make(
      "button",
      { class: "turn-head", type: "button", title: "Show this on the picture", click: () => wishes.show(turn) },
      thumbnail,
      from,
      question,
    );
    this.element = make(
      "li",
      { class: turn.after ? "turn goes-on" : "turn" },
      head,
      make("div", { class: "answers" }, ...turn.answers.map((answer) => this.body(answer))),
      this.foot(),
    );
    turn.answers.forEach((answer) => this.refresh(answer));
  }

  /** Lights a phrase of an answer and its places. */
  light(answer: Answer, span: number): void {
    const drawing = this.wishes.drawing(this.turn, answer);
    light([this.bodies.get(answer)!, ...(drawing ? [drawing] : [])], span);
  }

  /** Writes an answer anew, and its marks. */
  refresh(answer: Answer): void {
    const body = this.bodies.get(answer)!;
    body.setAttribute("aria-busy", String(answer.state === "asking"));
    body.className = `answer ${answer.state}`;
    const words = body.querySelector(".words")!;
    words.replaceChildren(...wordsOf(answer));
    if (answer.state === "done" && !answer.text) words.append(make("em", {}, "Nothing was said."));
    body.querySelector(".trouble")!.textContent = answer.trouble;
    body.querySelector(".note")!.textContent = answer.note;
    this.tune(answer, body.querySelector<HTMLElement>(".tune")!);
    this.wishes.marks(this.turn, answer);
  }

  /** Plays the words of a trace one after the other, on from the last that was played. */
  play(answer: Answer): void {
    this.pause(answer);
    if (isCalm.matches) answer.played = Infinity;
    const step = () => {
      if (answer.played >= answer.spans.length && answer.state !== "asking") {
        answer.played = Infinity;
        this.pause(answer);
      } else if (answer.played < answer.spans.length) answer.played++;
      this.refresh(answer);
    };
    this.timers.set(answer, window.setInterval(step, STEP_MS));
    step();
  }

  private pause(answer: Answer): void {
    clearInterval(this.timers.get(answer));
    this.timers.delete(answer);
  }

  private body(answer: Answer): HTMLElement {
    const name = make("h3", {}, answer.model.id);
    const body = make(
      "article",
      { "aria-live": "polite", "aria-label": `Answer of ${answer.model.id}` },
      name,
      make("p", { class: "words" }),
      make("p", { class: "trouble" }),
      make("p", { class: "note" }),
      make("div", { class: "tune" }),
    );
    const words = body.querySelector(".words")!;
    words.addEventListener("click", () => this.wishes.show(this.turn));
    listen(words, (span) => this.light(answer, span));
    this.bodies.set(answer, body);
    return body;
  }

  /** The slider of scores, or the player of a trace. */
  private tune(answer: Answer, row: HTMLElement): void {
    const [plays, slides] = [answer.isTrace && answer.spans.length > 1, hasScores(answer)];
    if (row.dataset.has !== `${plays} ${slides}`) {
      row.dataset.has = `${plays} ${slides}`;
      row.replaceChildren(...(plays ? [this.player(answer)] : []), ...(slides ? [this.slider(answer)] : []));
    }
    if (plays) {
      const range = row.querySelector<HTMLInputElement>(".player input")!;
      range.max = `${answer.spans.length}`;
      range.value = `${Math.min(answer.played, answer.spans.length)}`;
    }
    if (slides) {
      const placed = answer.spans.filter((span) => span.regions.length);
      const left = placed.filter((span) => !isBelow(answer, span)).length;
      row.querySelector("output")!.textContent = `${answer.least.toFixed(2)} · ${left} of ${placed.length}`;
    }
  }

  private slider(answer: Answer): Node {
    const changed = (event: Event) => {
      answer.least = Number((event.target as HTMLInputElement).value);
      this.refresh(answer);
    };
    const range = make("input", { type: "range", min: 0, max: 1, step: 0.01, value: answer.least, input: changed });
    return make("div", { class: "scores" }, make("label", {}, "Score ≥ ", range), make("output"));
  }

  private player(answer: Answer): Node {
    const moved = (event: Event) => {
      this.pause(answer);
      answer.played = Number((event.target as HTMLInputElement).value);
      this.refresh(answer);
    };
    const again = () => {
      this.wishes.show(this.turn);
      answer.played = 0;
      this.play(answer);
    };
    const button = make("button", { class: "small", type: "button", click: again }, icon("play"), "Play");
    return make(
      "div",
      { class: "player" },
      button,
      make("label", {}, make("span", { class: "unseen" }, "Word by word"), make("input", { type: "range", min: 0, step: 1, input: moved })),
    );
  }

  private foot(): HTMLElement {
    const { turn } = this;
    const stem = turn.picture.name.replace(/\.[^.]*$/, "") || "picture";
    const each = (work: (answer: Answer, name: string) => void) =>
      turn.answers.forEach((answer) => work(answer, turn.answers.length > 1 ? `${stem}-${answer.model.id.replace(/\W+/g, "-")}` : stem));
    const png = () =>
      each(
        (answer, name) =>
          void asPng(turn, answer).then(
            (blob) => save(blob, `${name}.png`),
            (error: Error) => announce(error.message),
          ),
      );
    const copy = (make: (turn: Turn, answer: Answer, withKey: boolean) => string) => async () => {
      const calls = turn.answers.map((answer) => make(turn, answer, key() !== "")).join("\n");
      await navigator.clipboard.writeText(calls).then(
        () => announce("Copied."),
        () => announce("The browser did not let the page copy."),
      );
    };
    return make(
      "div",
      { class: "turn-foot" },
      turn.verb === "ask" &&
        make(
          "button",
          {
            class: "small go-on",
            type: "button",
            title: "Let the next question go on from this answer",
            click: () => this.wishes.goOn(turn),
          },
          icon("on"),
          "Go on",
        ),
      menu("Save", [
        ["JSON", () => save(asJson(turn), `${stem}.json`)],
        ["Picture (PNG)", png],
        ["COCO", () => save(asCoco(turn), `${stem}-coco.json`)],
        ["Label Studio", () => save(asLabelStudio(turn), `${stem}-label-studio.json`)],
      ]),
      menu("Copy as", [
        ["curl", copy(asCurl)],
        ["Python", copy(asPython)],
      ]),
      make(
        "button",
        {
          class: "small quiet",
          type: "button",
          "aria-label": "Remove from the history",
          title: "Remove",
          click: () => this.wishes.remove(turn),
        },
        icon("cross"),
      ),
    );
  }
}

/** A question in one line. */
const titleOf = ({ question }: Turn) => question.map((part) => (typeof part === "string" ? part : `[${part.number}]`)).join("");

function menu(name: string, items: [name: string, work: () => void][]): HTMLElement {
  const details = make("details", { class: "menu-of" }, make("summary", { class: "small" }, name));
  const close = (work: () => void) => () => {
    details.open = false;
    details.querySelector("summary")!.focus();
    work();
  };
  details.append(
    make("div", { class: "menu" }, ...items.map(([words, work]) => make("button", { type: "button", click: close(work) }, words))),
  );
  return details;
}

/** Puts a card at the end of the history, in sight. */
export function append(card: Card): void {
  find("history").append(card.element);
  card.element.scrollIntoView({ block: "nearest", behavior: isCalm.matches ? "auto" : "smooth" });
}
