/** Calls to the server; what goes wrong is told in a sentence for the person at the page. */
import { messagesOf } from "./dialogue";
import { regionOf, type Drawn, type Exchange, type Model, type Parts, type Place, type Span, type Verb } from "./kinds";
import type { Picture } from "./picture";

/** The server, or the way to it, did not do what was asked; `status` is 0 where nothing came back. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

interface Said {
  text: string;
  grounding: (Span & { text: string })[] | null;
  error: string | null;
}

/** What the server tells of a model. */
interface Told {
  family: string;
  verbs: Verb[];
  forms: string[];
  every_word: boolean;
  turns: boolean;
}

const KEY = "foveal-key";

export const key = () => sessionStorage.getItem(KEY) ?? "";
export const useKey = (given: string) => sessionStorage.setItem(KEY, given.trim());

/** How the server calls a verb: its route, and what is sent beside the phrases or regions. */
export const ROUTES: Record<Exclude<Verb, "ask">, [route: string, body: object]> = {
  describe: ["describe", {}],
  locate: ["locate", {}],
  segment: ["segment", {}],
  caption: ["caption", {}],
  caption_detailed: ["caption", { detailed: true }],
  caption_grounded: ["caption", { grounded: true }],
  detect: ["detect", {}],
  dense: ["dense", {}],
};

export async function models(): Promise<Model[]> {
  const { data } = await (await call("v1/models")).json();
  return data.map(({ id, foveal }: { id: string; foveal: Told }) => ({
    id,
    family: foveal.family,
    can: new Set(foveal.verbs),
    forms: foveal.forms,
    everyWord: foveal.every_word,
    turns: foveal.turns,
  }));
}

/** Asks in words and drawn places, after what was said earlier, and tells the answer piece by piece. */
export async function chat(
  model: Model,
  picture: Picture,
  question: Parts,
  earlier: Exchange[],
  heard: (text: string, spans: Span[]) => void,
  signal: AbortSignal,
) {
  const reply = await withScene(model, picture, signal, (scene) => {
    const messages = messagesOf({ type: "scene", id: scene }, question, earlier);
    return post("v1/chat/completions", { model: model.id, messages, stream: true }, signal);
  });
  let text = "";
  const spans: Span[] = [];
  for await (const event of events(reply.body!)) {
    if (event.error) throw new Refused(500, event.error.message);
    const delta = event.choices?.[0]?.delta ?? {};
    text += delta.content ?? "";
    for (const span of delta.grounding ?? [])
      if (!spans.some((known) => known.start === span.start && known.end === span.end)) spans.push(span);
    if (delta.content || delta.grounding) heard(text, inUnits(text, spans));
  }
}

/** Asks by one of the verbs of a scene: about `about`, phrases or drawn places, each with an answer of its own. */
export async function tell(
  model: Model,
  picture: Picture,
  verb: Exclude<Verb, "ask">,
  about: (string | Drawn)[],
  signal: AbortSignal,
): Promise<[string, Span[]]> {
  const reply = await withScene(model, picture, signal, (scene) =>
    post(`v1/scenes/${scene}/${ROUTES[verb][0]}`, { ...bodyOf(verb, about), model: model.id }, signal),
  );
  const { answers }: { answers: Said[] } = await reply.json();
  if (answers.every((answer) => answer.error && !answer.text)) throw new Refused(400, answers[0].error!);
  let text = "";
  const spans: Span[] = [];
  answers.forEach((answer, index) => {
    if (text) text += "\n";
    const one = about[index];
    if (one !== undefined) {
      const label = typeof one === "string" ? one : `${one.number}`;
      if (typeof one !== "string")
        spans.push({ start: text.length, end: text.length + label.length, regions: [{ ...bare(regionOf(one)), number: one.number }] });
      text += `${label}: `;
    }
    const begin = text.length;
    spans.push(
      ...inUnits(answer.text, answer.grounding ?? []).map((span) => ({ ...span, start: span.start + begin, end: span.end + begin })),
    );
    text += answer.text || answer.error || "nothing";
  });
  return [text, spans];
}

/** What is sent with a verb. */
export function bodyOf(verb: Exclude<Verb, "ask">, about: (string | Drawn)[]): Record<string, unknown> {
  const named = verb === "locate" || verb === "segment" ? { phrases: about } : {};
  const pointed = verb === "describe" ? { regions: about.map((one) => bare(regionOf(one as Drawn))) } : {};
  return { ...ROUTES[verb][1], ...named, ...pointed };
}

const bare = ({ type: _, ...place }: Place & { type?: string }) => place;

/** The scene of a picture, looked at once by each model; once more where the server has let it go. */
async function withScene(
  model: Model,
  picture: Picture,
  signal: AbortSignal,
  work: (scene: string) => Promise<Response>,
): Promise<Response> {
  for (const again of [true, false]) {
    const scene = picture.scenes.get(model.id) ?? (await look(model, picture, signal));
    picture.scenes.set(model.id, scene);
    try {
      return await work(scene);
    } catch (error) {
      const isGone = error instanceof Refused && (error.status === 410 || error.status === 404);
      if (!isGone || !again) throw error;
      picture.scenes.delete(model.id);
    }
  }
  throw new Error("a loop that returns or throws");
}

async function look(model: Model, picture: Picture, signal: AbortSignal): Promise<string> {
  const form = new FormData();
  form.append("model", model.id);
  form.append("file", picture.file, picture.name);
  return (await (await call("v1/scenes", { method: "POST", body: form, signal })).json()).id;
}

const post = (path: string, body: object, signal: AbortSignal) =>
  call(path, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" }, signal });

async function call(path: string, options: RequestInit & { headers?: Record<string, string> } = {}): Promise<Response> {
  const headers = { ...options.headers, ...(key() && { Authorization: `Bearer ${key()}` }) };
  let reply: Response;
  try {
    reply = await fetch(path, { ...options, headers, credentials: key() ? "omit" : "same-origin" });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Refused(0, "The server does not answer. Is it still running?");
  }
  if (reply.ok) return reply;
  const said = await reply.json().then(
    (body) => body.error?.message ?? body.detail,
    () => "",
  );
  throw new Refused(reply.status, sentence(reply.status, typeof said === "string" ? said : "", reply.headers.get("Retry-After")));
}

function sentence(status: number, said: string, wait: string | null = null): string {
  if (status === 401) return "This server wants a key.";
  if (status === 429) return `Many questions are waiting here. Ask again in ${wait ? `${wait} s` : "a moment"}.`;
  if (status === 503 || status === 504) return said || "The server is busy or short of memory. Ask again in a moment.";
  if (status >= 500) return `Something went wrong in the server${said ? `: ${said}` : "."}`;
  return said || `The server refused this (${status}).`;
}

/** The events of a stream of server-sent events, as JSON. */
async function* events(body: ReadableStream<Uint8Array>) {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let kept = "";
  try {
    const next = () =>
      reader.read().catch(() => {
        throw new Refused(0, "The answer broke off: the server does not answer any more.");
      });
    for (let read = await next(); !read.done; read = await next()) {
      kept += decoder.decode(read.value, { stream: true });
      const lines = kept.split(/\r?\n/);
      kept = lines.pop()!;
      for (const line of lines) {
        const data = line.startsWith("data:") ? line.slice(5).trim() : "";
        if (data && data !== "[DONE]") yield JSON.parse(data);
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Spans in JavaScript's units: the server counts whole characters. */
function inUnits(text: string, spans: readonly Span[]): Span[] {
  const sorted = [...spans].sort((a, b) => a.start - b.start);
  if (!/[\ud800-\udbff]/.test(text)) return sorted;
  const ends = [0];
  for (const character of text) ends.push(ends[ends.length - 1] + character.length);
  const at = (index: number) => ends[Math.min(index, ends.length - 1)];
  return sorted.map((span) => ({ ...span, start: at(span.start), end: at(span.end) }));
}
