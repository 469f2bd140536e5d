/** Getting an answer: in words, after what was said before, or by one of a model's other questions. */
import { chat, Refused, tell } from "./api";
import { aboutOf } from "./calls";
import { noteOf, sentOf, upTo } from "./dialogue";
import { isTraceOf, type Answer, type Model, type Span, type Turn, type Verb } from "./kinds";

/** An answer that is still to be given. */
export function answerOf(model: Model, verb: Verb): Answer {
  const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const empty = { text: "", spans: [], trouble: "", note: "", earlier: [] };
  return { model, ...empty, state: "asking", isTrace: isTraceOf(model, verb), least: 0, played: isStill ? Infinity : 0 };
}

/** Asks for an answer to a turn, which hears it piece by piece; a model that refuses what was said before is asked without it. */
export async function askFor(turn: Turn, answer: Answer, heard: (text: string, spans: Span[]) => void, signal: AbortSignal): Promise<void> {
  const { picture, question, verb } = turn;
  const { model } = answer;
  if (verb !== "ask") heard(...(await tell(model, picture, verb, aboutOf(turn), signal)));
  else {
    const before = upTo(turn.after);
    answer.earlier = sentOf(before, model);
    answer.note = noteOf(before, answer.earlier, model);
    await chat(model, picture, question, answer.earlier, heard, signal).catch((error) => {
      const isRefused = error instanceof Refused && [400, 413, 422].includes(error.status);
      if (!isRefused || !answer.earlier.length) throw error;
      answer.earlier = [];
      answer.note = `Asked without what was said before, which ${model.id} did not take: ${error.message}`;
      return chat(model, picture, question, [], heard, signal);
    });
  }
  answer.state = "done";
}
