/** The calls of a turn, to be made elsewhere: what it asks, and how a shell and Python ask the same again. */
import { bodyOf } from "./api";
import { messagesOf } from "./dialogue";
import type { Answer, Turn } from "./kinds";

/** What is asked with the verb of a turn: phrases, or drawn places. */
export const aboutOf = ({ verb, question }: Pick<Turn, "verb" | "question">) =>
  verb === "describe"
    ? question.filter((part) => typeof part !== "string")
    : verb === "locate" || verb === "segment"
      ? phrasesOf(question)
      : [];

/** The phrases of a question: lines, or what ";" separates. */
export const phrasesOf = (question: Turn["question"]) =>
  question
    .map((part) => (typeof part === "string" ? part : ""))
    .join("")
    .split(/[;\n]/)
    .map((phrase) => phrase.trim())
    .filter(Boolean);

/** Where the image belongs in a copied call. */
const HERE = "@the image@";

/** How a shell asks the same. */
export function asCurl(turn: Turn, { model: { id: model }, earlier }: Answer, withKey: boolean): string {
  const server = new URL(".", document.baseURI).href;
  const key = withKey ? ` \\\n  -H "Authorization: Bearer $FOVEAL_API_KEY"` : "";
  const file = quoted(turn.picture.name);
  const json = ` \\\n  -H 'Content-Type: application/json'`;
  if (turn.verb === "ask") {
    const image = { type: "image_url", image_url: { url: HERE } };
    const body = JSON.stringify({ model, messages: messagesOf(image, turn.question, earlier) }, null, 1);
    const image64 = `data:${turn.picture.file.type};base64,$(base64 < ${file} | tr -d '\\n')`;
    const whole = body.replace(/[\\$`]/g, "\\$&").replace(HERE, () => image64);
    return `curl -s ${server}v1/chat/completions${json}${key} \\\n  --data-binary @- <<END\n${whole}\nEND\n`;
  }
  const [route, body] = [routeOf(turn), JSON.stringify({ model, ...bodyOf(turn.verb, aboutOf(turn)) })];
  const scene = `scene=$(curl -s ${server}v1/scenes${key} -F model=${quoted(model)} -F file=@${file} | sed 's/.*"id":"\\([^"]*\\)".*/\\1/')`;
  return `${scene}\ncurl -s ${server}v1/scenes/$scene/${route}${json}${key} \\\n  -d ${quoted(body)}\n`;
}

/** How Python asks the same, with the `openai` package or, for a verb, with nothing else. */
export function asPython(turn: Turn, { model: { id: model }, earlier }: Answer, withKey: boolean): string {
  const server = new URL(".", document.baseURI).href;
  const file = JSON.stringify(turn.picture.name);
  const key = withKey ? 'os.environ["FOVEAL_API_KEY"]' : '"none"';
  const os = withKey ? "import os\n" : "";
  if (turn.verb === "ask") {
    const messages = messagesOf({ type: HERE }, turn.question, earlier)
      .map((message) => `    ${python(message)},\n`)
      .join("")
      .replace(python({ type: HERE }), "image");
    return `import base64
${os}from pathlib import Path

from openai import OpenAI

picture = base64.b64encode(Path(${file}).read_bytes()).decode()
image = {"type": "image_url", "image_url": {"url": f"data:${turn.picture.file.type};base64,{picture}"}}
messages = [
${messages}]
client = OpenAI(base_url="${server}v1", api_key=${key})
answer = client.chat.completions.create(model=${python(model)}, messages=messages)
message = answer.choices[0].message
print(message.content)
for phrase in message.grounding:
    print(phrase["text"], phrase["regions"])
`;
  }
  const authorization = withKey ? `, "Authorization": f"Bearer {os.environ['FOVEAL_API_KEY']}"` : "";
  return `import base64
import json
${os}from pathlib import Path
from urllib.request import Request, urlopen


def post(path, body):
    headers = {"Content-Type": "application/json"${authorization}}
    with urlopen(Request("${server}v1/" + path, json.dumps(body).encode(), headers)) as reply:
        return json.load(reply)


picture = base64.b64encode(Path(${file}).read_bytes()).decode()
scene = post("scenes", {"model": ${python(model)}, "image": "data:${turn.picture.file.type};base64," + picture})["id"]
said = post(f"scenes/{scene}/${routeOf(turn)}", ${python({ model, ...bodyOf(turn.verb, aboutOf(turn)) })})
for answer in said["answers"]:
    print(answer["text"], answer["grounding"])
`;
}

const routeOf = ({ verb }: Turn) => (verb.startsWith("caption") ? "caption" : verb);
const quoted = (words: string) => `'${words.replaceAll("'", "'\\''")}'`;

/** A value of JSON as Python writes it. */
function python(value: unknown): string {
  if (value === true) return "True";
  if (value === false) return "False";
  if (value === null) return "None";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (value && typeof value === "object")
    return `{${Object.entries(value)
      .map(([name, one]) => `${python(name)}: ${python(one)}`)
      .join(", ")}}`;
  return JSON.stringify(value);
}
