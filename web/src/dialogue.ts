/** Questions that go on from answers: which turns went before, and what of them a model is sent. */
import { find, make } from "./dom";
import { regionOf, type Answer, type Exchange, type Model, type Parts, type Place, type Turn } from "./kinds";
import { chip } from "./question";

/** So many earlier questions are sent, the latest; and so many places with them, of the 256 that a server takes. */
const MOST_TURNS = 6;
const MOST_PLACES = 200;

const FORMS = ["mask", "point", "polygon", "scribble", "box"] as const;

/** A turn and those that it goes on from, the first one first. */
export function upTo(turn: Turn | null): Turn[] {
  const turns: Turn[] = [];
  for (let one = turn; one; one = one.after) turns.unshift(one);
  return turns;
}

/** What a model is sent of earlier turns: the latest, with its own answers. */
export function sentOf(earlier: Turn[], model: Model): Exchange[] {
  const sent: Exchange[] = [];
  let places = 0;
  for (const { question, answers } of model.turns ? [...earlier].reverse() : []) {
    const answer = answers.find((one) => one.model.id === model.id && one.text && ["done", "stopped"].includes(one.state));
    if (!answer) continue;
    places += question.length + answer.spans.reduce((sum, span) => sum + span.regions.length, 0);
    if (sent.length === MOST_TURNS || places > MOST_PLACES) break;
    sent.unshift({ question, answer });
  }
  return sent;
}

/** What a person should know about what is not sent, or "". */
export function noteOf(earlier: Turn[], sent: Exchange[], model: Model): string {
  const left = earlier.length - sent.length;
  if (!left) return "";
  if (!model.turns) return `${model.id} reads each question alone: what was said before is not sent.`;
  const [what, are] = [`${left} of ${earlier.length} earlier questions`, left === 1 ? "is" : "are"];
  return `${what} ${are} left out: ${model.id} is sent the last ${MOST_TURNS} that it answered, with ${MOST_PLACES} places at most.`;
}

/** A conversation as the API takes it; `image` is the part that shows the picture. */
export const messagesOf = (
  image: object,
  question: Parts,
  earlier: Exchange[],
): { role: string; content: unknown; grounding?: unknown }[] => {
  const asked = [...earlier.map((one) => one.question), question].map((parts, index) => ({
    role: "user",
    content: [...(index ? [] : [image]), ...contentOf(parts)],
  }));
  return asked.flatMap((message, index) => {
    const answer = earlier[index]?.answer;
    return answer ? [message, { role: "assistant", content: answer.text, grounding: groundingOf(answer) }] : [message];
  });
};

/** A question as the parts of a message. */
export const contentOf = (question: Parts) =>
  question.map((part) => (typeof part === "string" ? { type: "text", text: part } : regionOf(part)));

/** Where the words of an answer are, in the server's units: it counts whole characters. */
function groundingOf({ text, spans }: Answer): object[] {
  const at = (index: number) => [...text.slice(0, index)].length;
  return spans.map(({ start, end, regions }) => ({ start: at(start), end: at(end), regions: regions.map(bare) }));
}

/** A place in one form: the server says a box beside the others. */
function bare(place: Place): object {
  const form = FORMS.find((name) => place[name]);
  return form ? { [form]: place[form] } : {};
}

/** Says above the field what the next question goes on from; nothing where it stands alone. */
export function tellDialogue(after: Turn | null, models: Model[]): void {
  const earlier = upTo(after);
  find("dialogue").hidden = !earlier.length;
  find("dialogue").querySelector("summary")!.textContent =
    `Goes on from ${earlier.length === 1 ? "an answer" : `${earlier.length} answers`}`;
  const notes = models.map((model) => noteOf(earlier, sentOf(earlier, model), model)).filter(Boolean);
  find("left-out").replaceChildren(...notes.map((note) => make("span", {}, note)));
  const lines = models.flatMap((model) => {
    const sent = sentOf(earlier, model);
    return earlier.map(({ question }) => {
      const answer = sent.find((one) => one.question === question)?.answer;
      const words = question.map((part) => (typeof part === "string" ? part : chip(part)));
      const told = answer ? `${model.id}: ${answer.text}` : `${model.id}: not sent`;
      return make("li", { class: answer ? "" : "unsent" }, make("span", { class: "asked" }, ...words), make("span", {}, told));
    });
  });
  find("sent").replaceChildren(...lines);
}
