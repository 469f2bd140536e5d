/** Choosing a model: a list that shows what each can be asked, and how it can be pointed at places. */
import { make } from "./dom";
import type { Kind, Model, Verb } from "./kinds";

export const SAID: Record<Verb, string> = {
  ask: "Ask",
  describe: "Describe places",
  locate: "Locate",
  segment: "Outline",
  caption: "Caption",
  caption_detailed: "Long caption",
  caption_grounded: "Grounded caption",
  detect: "Find everything",
  dense: "Dense captions",
};

/** The form in which a model must take each kind of drawing. */
const FORM: Record<Kind, string> = { point: "point", box: "box", polygon: "mask", scribble: "mask" };

export const takes = (model: Model, kind: Kind) => model.forms.includes(FORM[kind]);

/** Why a verb cannot be used with these models, or "" where one of them can. */
export const whyNotAsked = (models: Model[], verb: Verb) =>
  models.some((model) => model.can.has(verb)) ? "" : `${names(models)} cannot be asked for this: “${SAID[verb]}”.`;

/** Why a kind of place cannot be drawn for these models, or "" where all of them take it. */
export function whyNotDrawn(models: Model[], kind: Kind): string {
  const without = models.filter((model) => !takes(model, kind));
  return without.length ? `${names(without)} cannot be pointed at ${kind === "box" ? "a box" : `a ${kind}`}.` : "";
}

const names = (models: Model[]) => models.map((model) => model.id).join(" and ");

/** Shows the chosen model in a `details` element, and all of them as radio buttons in its menu, which a click or Enter closes. */
export function fillPicker(picker: HTMLDetailsElement, models: Model[], chosen: Model, chose: (model: Model) => void): void {
  const summary = picker.querySelector("summary")!;
  summary.replaceChildren(make("span", { class: "model-name" }, chosen.id), badges(chosen));
  if (!picker.querySelector(".menu")) picker.append(menuOf(picker, models, chose));
  for (const input of picker.querySelectorAll("input")) input.checked = input.value === chosen.id;
}

function menuOf(picker: HTMLDetailsElement, models: Model[], chose: (model: Model) => void): HTMLElement {
  const close = () => {
    picker.open = false;
    picker.querySelector("summary")!.focus();
  };
  const cards = models.map((model) =>
    make(
      "label",
      { class: "model", click: (event) => (event as MouseEvent).detail > 0 && close() }, // arrows click too, with 0
      make("input", { type: "radio", name: `model-${picker.id}`, value: model.id, change: () => chose(model) }),
      make("span", {}, make("strong", {}, model.id), ` ${model.family}`),
      badges(model),
      make(
        "span",
        { class: "verbs-of" },
        [...[...model.can].map((verb) => SAID[verb] ?? verb), ...(model.turns ? [] : ["each question alone"])].join(" · "),
      ),
    ),
  );
  const byKey = (event: Event) => {
    if ((event as KeyboardEvent).key !== "Enter") return;
    event.preventDefault(); // or the summary, which then has the focus, is opened by the same key
    close();
  };
  return make("fieldset", { class: "menu models", keydown: byKey }, make("legend", { class: "unseen" }, "Model"), ...cards);
}

function badges(model: Model): HTMLElement {
  const forms = model.forms.length
    ? model.forms.map((form) => (form === "mask" ? "outlines" : form === "box" ? "boxes" : `${form}s`))
    : ["words only"];
  return make(
    "span",
    { class: "badges" },
    ...[...forms, ...(model.everyWord ? ["every word placed"] : [])].map((form) => make("span", { class: "badge" }, form)),
  );
}

/** Menus close when something else is pressed, and by Escape. */
export function closeMenus(): void {
  const open = () => document.querySelectorAll<HTMLDetailsElement>("details.menu-of[open]");
  document.addEventListener("pointerdown", (event) => open().forEach((menu) => (menu.open = menu.contains(event.target as Node))), {
    capture: true,
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    open().forEach((menu) => {
      menu.open = false;
      menu.querySelector("summary")!.focus();
    });
  });
}
