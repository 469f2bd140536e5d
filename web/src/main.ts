/** The page: a picture, places drawn on it, questions, and answers whose words know where they are. */
import { chat, key, models as fetchModels, Refused, tell, useKey } from "./api";
import { announce, find, icon, make } from "./dom";
import { aboutOf } from "./exports";
import { isTraceOf, type Answer, type Drawn, type Kind, type Model, type Parts, type Pt, type Turn, type Verb } from "./kinds";
import { drawnMarks, Pen } from "./pen";
import { closeMenus, fillPicker, SAID, whyNotAsked, whyNotDrawn } from "./picker";
import { Picture } from "./picture";
import { answerMarks } from "./places";
import { Question } from "./question";
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
const pens = stages.map((stage) => new Pen(stage, addDrawn));
const question = new Question(
  find("field"),
  () => drawn,
  () => ask("ask"),
);
const cards = new Map<Turn, Card>();
let all: Model[] = [];
let chosen: Model[] = [];
let picture: Picture | null = null;
let drawn: Drawn[] = [];
let shown: Turn | null = null;
let asking: AbortController | null = null;
let turns = 0;

// ---- Pictures

async function open(file: Blob, name: string): Promise<void> {
  announce("Reading the picture …");
  try {
    await showPicture(await Picture.open(file, name));
  } catch (error) {
    return announce((error as Error).message);
  }
  shown = null;
  drawn = [];
  question.fill([]);
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

function addDrawn(kind: Kind, points: Pt[]): void {
  let number = 1;
  while (drawn.some((one) => one.number === number)) number++;
  const one = { number, kind, points };
  drawn.push(one);
  question.name(one);
  redraw();
  announce(`${kind} ${number} is drawn and stands in the question.`);
}

function removeDrawn(one: Drawn): void {
  drawn = drawn.filter((other) => other !== one);
  question.forget(one);
  redraw();
}

function takeTool(kind: Kind | null): void {
  const why = kind && whyNotDrawn(chosen, kind);
  if (why) return announce(why);
  pens.forEach((pen) => pen.take(kind));
  document
    .querySelectorAll<HTMLElement>("[data-tool]")
    .forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.tool === (kind ?? ""))));
  announce(kind ? HINTS[kind] : "");
}

/** Draws all marks: what is asked about, and the places of the answers that are shown. */
function redraw(): void {
  const past = (shown?.question ?? []).filter((part): part is Drawn => typeof part !== "string" && !drawn.includes(part));
  stages.forEach((stage, index) => {
    if (!stage.picture || stage.element.hidden) return;
    const answer = shown?.answers[index];
    const [shapes, pins] = answer ? answerMarks(answer, stage) : [[], []];
    const [drawnShapes, drawnPins] = drawnMarks(drawn, past, answer, stage);
    stage.shapes.replaceChildren(...shapes, ...drawnShapes, ...keep(stage.shapes, ".pen"));
    stage.pins.replaceChildren(...pins, ...drawnPins, ...keep(stage.pins, ".cursor"));
    stage.settle();
    stage.element.querySelector(".stage-name")!.textContent = stages[1].element.hidden ? "" : ((answer?.model ?? chosen[index])?.id ?? "");
  });
  const chips = drawn.map((one) =>
    make(
      "li",
      {},
      make(
        "button",
        { type: "button", class: "name", title: "Put into the question", click: () => question.name(one) },
        make("span", { class: "chip" }, `${one.number}`),
        ` ${one.kind}`,
      ),
      make(
        "button",
        { type: "button", class: "remove", "aria-label": `Remove ${one.kind} ${one.number}`, click: () => removeDrawn(one) },
        icon("cross"),
      ),
    ),
  );
  find("drawn").replaceChildren(...chips);
  tellWhatCanBeAsked();
}

const keep = (group: Element, which: string) => group.querySelectorAll(which);

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
}

async function compare(): Promise<void> {
  chosen = chosen.length > 1 ? [chosen[0]] : [chosen[0], all.find((model) => model !== chosen[0])!];
  fillPickers();
  await fitStages(chosen.length > 1);
  redraw();
}

/** Shows the picture once, or twice for two models. */
async function fitStages(two: boolean): Promise<void> {
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
  if (verb === "describe" && !drawn.length) return "Draw the places first.";
  if ((verb === "locate" || verb === "segment") && !question.words)
    return `Write what to ${verb === "locate" ? "locate" : "outline"}; “;” separates several.`;
  if (verb === "ask" && !question.parts.length) return "Write a question first.";
  return "";
}

// ---- Questions and answers

function askedBy(verb: Verb): Parts {
  if (verb === "ask") return question.parts;
  if (verb === "describe") return [...drawn];
  return verb === "locate" || verb === "segment" ? [question.words] : [];
}

async function ask(verb: Verb): Promise<void> {
  const why = whyNever(verb) || whyNotYet(verb);
  if (why || asking) return announce(why || "An answer is being written; stop it first.");
  const answers = chosen.map((model): Answer => ({
    model,
    text: "",
    spans: [],
    state: "asking",
    trouble: "",
    isTrace: isTraceOf(model, verb),
    least: 0,
    played: isStill() ? Infinity : 0,
  }));
  const turn: Turn = { id: ++turns, picture: picture!, verb, question: askedBy(verb), answers };
  const card = new Card(turn, { show: (one) => void show(one), remove, marks: (one) => one === shown && redraw(), drawing });
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
  announce(answers.find((answer) => answer.trouble)?.trouble ?? "");
  card.element.scrollIntoView({ block: "nearest" });
}

const isStill = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

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
  try {
    if (turn.verb === "ask") await chat(answer.model, turn.picture, turn.question, heard, signal);
    else heard(...(await tell(answer.model, turn.picture, turn.verb, aboutOf(turn), signal)));
    answer.state = "done";
  } catch (error) {
    answer.state = signal.aborted ? "stopped" : "failed";
    answer.trouble = signal.aborted ? "Stopped." : (error as Error).message;
    if ((error as Refused).status === 401) find<HTMLDialogElement>("key").showModal();
  }
  cancelAnimationFrame(due);
  if (!answer.isTrace) answer.played = Infinity;
  else if (answer.played === 0) card.play(answer);
  card.refresh(answer);
}

async function show(turn: Turn): Promise<void> {
  const before = shown;
  shown = turn;
  for (const [one, card] of cards) card.element.classList.toggle("shown", one === turn);
  if (turn.picture !== picture) {
    drawn = [];
    question.fill([]);
    await showPicture(turn.picture);
  }
  await fitStages(chosen.length > 1 || turn.answers.length > 1);
  if (before !== turn) redraw();
}

function remove(turn: Turn): void {
  cards.get(turn)!.element.remove();
  cards.delete(turn);
  if (shown === turn) shown = null;
  redraw();
  find("field").focus();
}

const drawing = (turn: Turn, answer: Answer) => (turn === shown ? stages[turn.answers.indexOf(answer)].drawing : null);

// ---- What the person does

function listenToAll(): void {
  moveTogether(stages[0], stages[1]);
  stages.forEach((stage, index) =>
    listen(stage.drawing, (span) => shown?.answers[index] && cards.get(shown)!.light(shown.answers[index], span)),
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
  find("clear").addEventListener("click", () => [...drawn].forEach(removeDrawn));
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
  if (picture) factor ? stages[0].zoomBy(factor) : stages[0].home();
}

/** The tools by letters, outside of fields: as their titles say. */
function byKey(event: KeyboardEvent): void {
  const isWriting = (event.target as HTMLElement).closest("input, [contenteditable=true], dialog");
  if (isWriting || event.ctrlKey || event.metaKey || event.altKey) return;
  const tool = TOOLS["mpbgs".indexOf(event.key)];
  if (event.key.length === 1 && tool !== undefined) takeTool(tool);
  else if (event.key === "Escape") takeTool(null);
  else if ((event.key === "Delete" || event.key === "Backspace") && drawn.length) removeDrawn(drawn[drawn.length - 1]);
}

for (const verb of ["locate", "segment", "describe", "caption", "caption_detailed", "caption_grounded", "detect", "dense"] as Verb[]) {
  find("verbs").append(make("button", { type: "button", class: "pill", "data-verb": verb }, SAID[verb]));
}
find<HTMLInputElement>("key-field").value = key();
closeMenus();
listenToAll();
tellWhatCanBeAsked();
void start();
