/** The values that the page is about: places, words with places, models, questions and their answers. */
import type { Picture } from "./picture";

/** (x, y) in fractions of the picture. */
export type Pt = [number, number];

/** COCO's run lengths of a mask: `size` is [height, width]. */
export interface Runs {
  size: [number, number];
  counts: string | number[];
}

/** Where words point, as the server says it: fractions of the picture, and pixels beside them. */
export interface Place {
  box?: number[];
  point?: number[];
  mask?: Runs;
  polygon?: Pt[];
  scribble?: Pt[];
  trace?: Pt[];
  score?: number | null;
  /** Of a place that the person drew: its number. */
  number?: number;
  [inPixels: string]: unknown;
}

/** A phrase of an answer and its places; `start` and `end` count characters as JavaScript does. */
export interface Span {
  start: number;
  end: number;
  regions: Place[];
}

export type Verb = "ask" | "describe" | "locate" | "segment" | "caption" | "caption_detailed" | "caption_grounded" | "detect" | "dense";

export interface Model {
  id: string;
  family: string;
  can: Set<Verb>;
  forms: string[];
  everyWord: boolean;
  /** Whether it reads what was said before a question. */
  turns: boolean;
}

export type Kind = "point" | "box" | "polygon" | "scribble";

/** A place that the person drew. */
export interface Drawn {
  number: number;
  kind: Kind;
  points: Pt[];
}

/** A drawn place that is taken hold of, by one of its corners or, with -1, as a whole. */
export interface Held {
  number: number;
  corner: number;
}

/** A question: words, with drawn places among them. */
export type Parts = readonly (string | Drawn)[];

export interface Answer {
  model: Model;
  text: string;
  spans: Span[];
  state: "asking" | "done" | "stopped" | "failed";
  /** What went wrong, in a sentence. */
  trouble: string;
  /** Whether every word has its place, so that the words can be played one after the other. */
  isTrace: boolean;
  /** Places with a lower score are hidden. */
  least: number;
  /** How many words of a trace have been played; all, unless it is playing. */
  played: number;
  /** What was said before and sent with the question. */
  earlier: Exchange[];
  /** What was said before and not sent, in a sentence; or "". */
  note: string;
}

/** A question with one model's answer. */
export interface Exchange {
  question: Parts;
  answer: Answer;
}

export interface Turn {
  id: number;
  picture: Picture;
  verb: Verb;
  question: Parts;
  answers: Answer[];
  /** The turn that the question goes on from. */
  after: Turn | null;
}

const COLOURS = ["#e63946", "#1d82dc", "#2a9d53", "#f48c06", "#8e44ad", "#0096a0", "#d63384", "#785e3c"];
const WAY = ["#e63946", "#e96e0a", "#b08e00", "#34983c", "#009196", "#1d82dc", "#7842be", "#ce2c8c"];

/** The colour of a phrase and its places; along a trace the colours run through the sentence. */
export function colourOf(answer: Answer, index: number): string {
  if (!answer.isTrace || answer.spans.length < 2) return COLOURS[index % COLOURS.length];
  return WAY[Math.floor((index / answer.spans.length) * WAY.length)];
}

/** The best score of a phrase's places, or null where the model gives none. */
export function scoreOf(span: Span): number | null {
  const scores = span.regions.map((region) => region.score).filter((score) => typeof score === "number");
  return scores.length ? Math.max(...scores) : null;
}

/** Whether a phrase is hidden by the slider. */
export const isBelow = (answer: Answer, span: Span) => (scoreOf(span) ?? 1) < answer.least;

/** Whether the words of an answer to a verb are each said with their place, and not a list of things. */
export const isTraceOf = (model: Model, verb: Verb) => model.everyWord && (verb === "ask" || verb.startsWith("caption"));

export const hasScores = (answer: Answer) => answer.spans.filter((span) => scoreOf(span) !== null).length > 1;

/** A drawn place as a part of a request. */
export function regionOf(drawn: Drawn): Place & { type: "region" } {
  const points = drawn.points.map(([x, y]): Pt => [round(x), round(y)]);
  if (drawn.kind === "point") return { type: "region", point: points[0] };
  if (drawn.kind === "box") return { type: "region", box: [...points[0], ...points[1]] };
  return { type: "region", [drawn.kind]: points };
}

const round = (value: number) => Math.round(value * 1e5) / 1e5;
