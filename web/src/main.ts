/** The page: a picture, places drawn on it, questions, and answers whose words know where they are. */
import { key, models as fetchModels, Refused, useKey } from "./api";
import { answerOf, askFor } from "./asking";
import { announce, find, make } from "./dom";
import { tellDialogue, upTo } from "./dialogue";
import { drawnMarks } from "./drawn";
import { Grip } from "./grip";
import type { Answer, Drawn, Kind, Model, Parts, Turn, Verb } from "./kinds";
import { Pen } from "./pen";
import { closeMenus, fillPicker, SAID, whyNotAsked, whyNotDrawn } from "./picker";
import { Picture } from "./picture";
import { answerMarks } from "./places";
import { Question } from "./question";
import { Sketch } from "./sketch";
import { moveTogether, Stage } from "./stage";
import { append, Card } from "./turns";
import { listen } from "./words";

const TOOLS: (Kind | null)[] = [null, "point", "box", "polygon", "scribble"];
const HINTS: Record<Kind, string> = {
  point: "Click on a point. By keys: arrows, then Enter.",
  box: "Pull a box over a thing. By keys: arrows and Enter at two corners.",
  polygon: "Click at the corners; the first corner or a double click closes it. By keys: Enter at each corner, twice at the last.",
  scribble: "Draw over a thing. By keys: Enter begins and ends the line.",
};

const stages = [0, 1].map((index) => new Stage(find(`stage-${index}`)));
const sketch: Sketch = new Sketch(
  () => question,
  () => placesOf(...upTo(after)),
  sketched,
  reach,
);
const pens = stages.map((stage) => new Pen(stage, (kind, points) => sketch.add(kind, points)));
const question: Question = new Question(
  find("field"),
  () => sketch.drawn,
  () => ask("ask"),
);
const cards = new Map<Turn, Card>();
let all: Model[] = [];
let chosen: Model[] = [];
let picture: Picture | null = null;
let shown: Turn | null = null;
/** The turn that the next question goes on from. */
let after: Turn | null = null;
let asking: AbortController | null = null;
let turns = 0;
let opened = 0;

// ---- Pictures

async function open(file: Blob, name: string): Promise<void> {
  announce("Reading the picture …");
  const mine = ++opened;
  try {
    const next = await Picture.open(file, name);
    if (mine !== opened) return next.close(); // another was chosen meanwhile
    await showPicture(next);
  } catch (error) {
    return announce((error as Error).message);
  }
  shown = null;
  begin();
  redraw();
  announce(`${name}, ${picture!.width} × ${picture!.height} pixels.`);
  find("field").focus();
}

async function showPicture(next: Picture): Promise<void> {
  await next.reopen();
  const before = picture;
  picture = next;
  document.body.classList.add("has-picture");
  stages[1].element.hidden = chosen.length < 2;
  await Promise.all(stages.filter((stage) => !stage.element.hidden).map((stage) => stage.show(next)));
  if (before !== next) before?.close();
}

/** Begins anew: nothing is drawn, and nothing was said before. */
function begin(): void {
  goOn(null);
  question.fill([]);
  sketch.empty();
}

/** The first file of a paste or drop that is a picture. */
function take(data: DataTransfer | null): boolean {
  const file = [...(data?.files ?? [])][0];
  if (file) void open(file, file.name || "picture.png");
  return file !== undefined;
}

async function openSample(name: string): Promise<void> {
  const reply = await fetch(`samples/${name}.png`, { credentials: "same-origin" }).catch(() => null);
  if (!reply?.ok) return announce("The server does not answer. Is it still running?");
  return open(await reply.blob(), `${name}.png`);
}

// ---- Places that are drawn

const placesOf = (...some: Turn[]) => some.flatMap((turn) => turn.question).filter((part) => typeof part !== "string");

/** Takes hold of a place on the picture, so that it can be moved. */
function reach(one: Drawn): void {
  takeTool(null);
  sketch.hold({ number: one.number, corner: -1 });
  stages[0].focusOn({ number: one.number, corner: -1 });
  announce(`${one.kind} ${one.number} can be moved: pull it or its corners, or press arrows; Tab goes to its corners.`);
}

function takeTool(kind: Kind | null): void {
  const why = kind && whyNotDrawn(chosen, kind);
  if (why) return announce(why);
  if (kind) sketch.hold(null);
  pens.forEach((pen) => pen.take(kind));
  document
    .querySelectorAll<HTMLElement>("[data-tool]")
    .forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.tool === (kind ?? ""))));
  announce(kind ? HINTS[kind] : "");
}

/** Draws all marks: what is asked about, and the places of the answers that are shown. */
function redraw(): void {
  stages.forEach((stage, index) => {
    if (!stage.picture || stage.element.hidden) return;
    const answer = shown?.answers[index];
    const [shapes, pins] = answer ? answerMarks(answer, stage) : [[], []];
    stage.draw("said", shapes, pins);
    stage.element.querySelector(".stage-name")!.textContent = stages[1].element.hidden ? "" : ((answer?.model ?? chosen[index])?.id ?? "");
  });
  redrawDrawn();
  tellWhatCanBeAsked();
}

function redrawDrawn(): void {
  const asked = shown ? placesOf(shown) : [];
  stages.forEach((stage, index) => {
    if (stage.picture && !stage.element.hidden)
      stage.draw("drawn", ...drawnMarks(sketch.drawn, asked, sketch.held, shown?.answers[index], stage));
  });
}

/** After a change to what is drawn. */
function sketched(): void {
  redrawDrawn();
  sketch.list();
}

// ---- Models

async function start(): Promise<void> {
  try {
    all = await fetchModels();
  } catch (error) {
    if ((error as Refused).status === 401) find<HTMLDialogElement>("key").showModal();
    return announce((error as Error).message);
  }
  chosen = [all[0]];
  fillPickers();
  announce("");
}

function fillPickers(): void {
  find("second").hidden = chosen.length < 2;
  find("compare").hidden = all.length < 2;
  find("compare").setAttribute("aria-pressed", String(chosen.length > 1));
  chosen.forEach((model, index) => {
    const picker = find<HTMLDetailsElement>(index ? "second" : "first");
    fillPicker(picker, all, model, (other) => {
      chosen[index] = other;
      fillPickers();
      redraw();
    });
  });
  tellWhatCanBeAsked();
  tellDialogue(after, chosen);
}

async function compare(): Promise<void> {
  chosen = chosen.length > 1 ? [chosen[0]] : [chosen[0], all.find((model) => model !== chosen[0])!];
  fillPickers();
  await fitStages(chosen.length > 1);
  redraw();
}

/** Shows the picture once, or twice for two models. */
async function fitStages(two: boolean): Promise<void> {
  if (stages[1].element.hidden !== two) return;
  stages[1].element.hidden = !two;
  if (two && picture && stages[1].picture !== picture) await stages[1].show(picture);
  if (two && picture) stages.forEach((stage) => stage.home());
}

/** Buttons of what the models cannot do stay in reach, and say why when they are pressed. */
function tellWhatCanBeAsked(): void {
  const off = (button: HTMLElement, why: string) => {
    button.setAttribute("aria-disabled", String(why !== ""));
    button.title = why || button.dataset.title || "";
  };
  for (const button of document.querySelectorAll<HTMLElement>("[data-verb]")) off(button, whyNever(button.dataset.verb as Verb));
  for (const button of document.querySelectorAll<HTMLElement>("[data-tool]")) {
    if (!button.dataset.tool) continue;
    const why = whyNotDrawn(chosen, button.dataset.tool as Kind);
    off(button, why);
    if (why && button.getAttribute("aria-pressed") === "true") takeTool(null);
  }
}

function whyNever(verb: Verb): string {
  if (!chosen.length) return "There is no model to ask yet.";
  return whyNotAsked(chosen, verb) || (picture ? "" : "Open a picture first.");
}

/** What is still missing from a question. */
function whyNotYet(verb: Verb): string {
  if (verb === "describe" && !sketch.drawn.length) return "Draw the places first.";
  if ((verb === "locate" || verb === "segment") && !question.words)
    return `Write what to ${verb === "locate" ? "locate" : "outline"}; “;” separates several.`;
  if (verb === "ask" && !question.parts.length) return "Write a question first.";
  return "";
}

// ---- Questions and answers

function askedBy(verb: Verb): Parts {
  if (verb === "ask") return question.parts;
  if (verb === "describe") return [...sketch.drawn];
  return verb === "locate" || verb === "segment" ? [question.words] : [];
}

async function ask(verb: Verb): Promise<void> {
  const why = whyNever(verb) || whyNotYet(verb);
  if (why || asking) return announce(why || "An answer is being written; stop it first.");
  const answers = chosen.map((model) => answerOf(model, verb));
  const turn: Turn = { id: ++turns, picture: picture!, verb, question: askedBy(verb), answers, after: verb === "ask" ? after : null };
  const card = new Card(turn, {
    show: (one) => void show(one),
    remove,
    marks: (one) => one === shown && redraw(),
    drawing,
    goOn: (one) => void takeUp(one),
  });
  cards.set(turn, card);
  append(card);
  await show(turn);
  if (verb === "ask" || verb === "locate" || verb === "segment") question.fill([]);
  asking = new AbortController();
  document.body.classList.add("is-asking");
  announce("Asking …");
  await Promise.all(answers.map((answer) => answerTo(turn, answer, card, asking!.signal)));
  asking = null;
  document.body.classList.remove("is-asking");
  if (turn.after && turn.after === after && answers.some((answer) => answer.text)) goOn(turn);
  announce(answers.find((answer) => answer.trouble)?.trouble ?? "");
  card.element.scrollIntoView({ block: "nearest" });
}

async function answerTo(turn: Turn, answer: Answer, card: Card, signal: AbortSignal): Promise<void> {
  let due = 0;
  const heard = (text: string, spans: Answer["spans"]) => {
    Object.assign(answer, { text, spans });
    if (answer.isTrace && answer.played === 0) card.play(answer);
    due ||= requestAnimationFrame(() => {
      due = 0;
      card.refresh(answer);
    });
  };
  await askFor(turn, answer, heard, signal).catch((error: Error) => {
    answer.state = signal.aborted ? "stopped" : "failed";
    answer.trouble = signal.aborted ? "Stopped." : error.message;
    if (error instanceof Refused && error.status === 401) find<HTMLDialogElement>("key").showModal();
  });
  cancelAnimationFrame(due);
  if (!answer.isTrace) answer.played = Infinity;
  else if (answer.played === 0) card.play(answer);
  card.refresh(answer);
}

/** Lets the next question go on from a turn, or stand alone. */
function goOn(turn: Turn | null): void {
  after = turn;
  for (const [one, card] of cards) card.element.querySelector(".go-on")?.setAttribute("aria-pressed", String(one === after));
  tellDialogue(after, chosen);
}

/** Takes a conversation up where a turn ended, with the places that it spoke of. */
async function takeUp(turn: Turn): Promise<void> {
  if (!turn.answers.some((answer) => answer.text)) return announce("There is no answer to go on from.");
  await show(turn);
  goOn(turn);
  sketch.recall(placesOf(...upTo(turn)));
  find("field").focus();
  announce("The next question goes on from this answer.");
}

async function show(turn: Turn): Promise<void> {
  shown = turn;
  for (const [one, card] of cards) card.element.classList.toggle("shown", one === turn);
  if (turn.picture !== picture) {
    begin();
    await showPicture(turn.picture);
  }
  await fitStages(chosen.length > 1 || turn.answers.length > 1);
  redraw();
}

function remove(turn: Turn): void {
  cards.get(turn)!.element.remove();
  cards.delete(turn);
  if (shown === turn) shown = null;
  if (upTo(after).includes(turn)) goOn(null);
  redraw();
  find("field").focus();
}

const drawing = (turn: Turn, answer: Answer) => (turn === shown ? stages[turn.answers.indexOf(answer)].drawing : null);

// ---- What the person does

function listenToAll(): void {
  moveTogether(stages[0], stages[1]);
  stages.forEach((stage) => new Grip(stage, sketch));
  stages.forEach((stage, index) =>
    listen(stage.element, (span) => shown?.answers[index] && cards.get(shown)!.light(shown.answers[index], span)),
  );
  find("file").addEventListener("change", (event) => {
    const [file] = (event.target as HTMLInputElement).files!;
    if (file) void open(file, file.name);
    (event.target as HTMLInputElement).value = "";
  });
  document.querySelectorAll("[data-open]").forEach((button) => button.addEventListener("click", () => find("file").click()));
  document
    .querySelectorAll<HTMLElement>("[data-sample]")
    .forEach((button) => button.addEventListener("click", () => void openSample(button.dataset.sample!)));
  document
    .querySelectorAll<HTMLElement>("[data-tool]")
    .forEach((button) => button.addEventListener("click", () => takeTool((button.dataset.tool || null) as Kind | null)));
  document
    .querySelectorAll<HTMLElement>("[data-zoom]")
    .forEach((button) => button.addEventListener("click", () => zoom(Number(button.dataset.zoom))));
  document
    .querySelectorAll<HTMLElement>("[data-verb]")
    .forEach((button) => button.addEventListener("click", () => void ask(button.dataset.verb as Verb)));
  find("field").addEventListener("change", tellWhatCanBeAsked);
  find("stop").addEventListener("click", () => asking?.abort());
  find("compare").addEventListener("click", () => void compare());
  find("clear").addEventListener("click", () => sketch.remove(...sketch.drawn));
  find("anew").addEventListener("click", () => {
    goOn(null);
    find("field").focus();
    announce("The next question stands alone.");
  });
  document.addEventListener("paste", (event) => take(event.clipboardData) && event.preventDefault());
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("is-dragged-over");
  });
  document.addEventListener("dragleave", (event) => !event.relatedTarget && document.body.classList.remove("is-dragged-over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("is-dragged-over");
    if (!take(event.dataTransfer)) announce("This is no file. Drop a picture.");
  });
  document.addEventListener("keydown", byKey);
  find<HTMLFormElement>("key-form").addEventListener("submit", () => {
    useKey(find<HTMLInputElement>("key-field").value);
    void start();
  });
}

function zoom(factor: number): void {
  if (picture) stages.filter((stage) => !stage.element.hidden).forEach((stage) => (factor ? stage.zoomBy(factor) : stage.home()));
}

/** The tools by letters, outside of fields: as their titles say. */
function byKey(event: KeyboardEvent): void {
  const isWriting = (event.target as HTMLElement).closest("input, [contenteditable=true], dialog");
  if (isWriting || event.altKey) return;
  if (event.ctrlKey || event.metaKey) {
    if (event.key.toLowerCase() !== "z") return;
    event.preventDefault();
    return event.shiftKey ? sketch.redo() : sketch.undo();
  }
  const tool = TOOLS["mpbgs".indexOf(event.key)];
  if (event.key.length === 1 && tool !== undefined) takeTool(tool);
  else if (event.key === "Escape" && sketch.held) sketch.hold(null);
  else if (event.key === "Escape") takeTool(null);
  else if (event.key === "Delete" || event.key === "Backspace")
    sketch.remove(...(sketch.held ? sketch.drawn.filter((one) => one.number === sketch.held!.number) : sketch.drawn.slice(-1)));
}

for (const verb of ["locate", "segment", "describe", "caption", "caption_detailed", "caption_grounded", "detect", "dense"] as Verb[]) {
  find("verbs").append(make("button", { type: "button", class: "pill", "data-verb": verb }, SAID[verb]));
}
find<HTMLInputElement>("key-field").value = key();
closeMenus();
listenToAll();
tellWhatCanBeAsked();
void start();
