/** A turn for elsewhere: as JSON, as a picture, for COCO and Label Studio. */
import { contentOf, messagesOf } from "./dialogue";
import { colourOf, isBelow, scoreOf, type Answer, type Place, type Span, type Turn } from "./kinds";
import { brushOf, outlinesOf, rasterOf } from "./masks";
import { canvasOf } from "./picture";
import { maskPath, middleOf } from "./places";

/** Phrases whose places the model gave, and the slider leaves. */
const shown = (answer: Answer) => answer.spans.filter((span) => span.regions.some((place) => !place.number) && !isBelow(answer, span));
const wordsOf = (answer: Answer, span: Span) => answer.text.slice(span.start, span.end).trim() || "place";

export function asJson({ picture, verb, question, answers }: Turn): object {
  return {
    picture: { name: picture.name, width: picture.width, height: picture.height },
    verb,
    question: contentOf(question),
    answers: answers.map((answer) => ({
      model: answer.model.id,
      ...(answer.earlier.length && { earlier: messagesOf({ type: "image" }, [], answer.earlier).slice(0, -1) }),
      text: answer.text,
      grounding: answer.spans.map((span) => ({
        start: span.start,
        end: span.end,
        text: answer.text.slice(span.start, span.end),
        regions: span.regions,
      })),
      ...(answer.trouble && { error: answer.trouble }),
    })),
  };
}

/** Every place of the answers as an annotation, its words as the category: boxes, masks as polygons, points as key points. */
export function asCoco({ picture, answers }: Turn): object {
  const { name, width, height } = picture;
  const categories = new Map<string, number>();
  const annotations = answers.flatMap((answer) =>
    shown(answer).flatMap((span) =>
      span.regions.map((place) => {
        const words = wordsOf(answer, span);
        if (!categories.has(words)) categories.set(words, categories.size + 1);
        const bbox = boxPx(place, width, height);
        const score = place.score ?? scoreOf(span);
        return {
          image_id: 1,
          category_id: categories.get(words),
          bbox,
          area: bbox[2] * bbox[3],
          iscrowd: 0,
          ...(place.mask && maskPx(place, width, height)),
          ...(place.point && { keypoints: [...middlePx(place, width, height), 2], num_keypoints: 1 }),
          ...(score !== null && { score }),
          model: answer.model.id,
        };
      }),
    ),
  );
  return {
    images: [{ id: 1, file_name: name, width, height }],
    categories: [...categories].map(([words, id]) => ({ id, name: words })),
    annotations: annotations.map((annotation, index) => ({ id: index + 1, ...annotation })),
  };
}

function boxPx(place: Place, width: number, height: number): number[] {
  const [x, y] = middleOf(place) ?? [0, 0];
  const [x0, y0, x1, y1] = place.box ?? [x, y, x, y];
  return [x0 * width, y0 * height, (x1 - x0) * width, (y1 - y0) * height];
}

function maskPx(place: Place, width: number, height: number): object {
  const { bits, ...raster } = rasterOf(place.mask!, 1024);
  const set = bits.reduce((sum, bit) => sum + bit, 0);
  const segmentation = outlinesOf(place.mask!, 1024).map((way) => way.flatMap(([x, y]) => [x * width, y * height]));
  return { segmentation, area: (set / raster.width / raster.height) * width * height };
}

function middlePx(place: Place, width: number, height: number): number[] {
  const [x, y] = middleOf(place) ?? [0, 0];
  return [x * width, y * height];
}

/** A task of Label Studio's with the answers as predictions: `box`, `point` and `mask` are the names of its control tags. */
export function asLabelStudio({ picture, answers }: Turn): object {
  const about = { original_width: picture.width, original_height: picture.height, image_rotation: 0 };
  const predictions = answers.map((answer) => ({
    model_version: answer.model.id,
    result: shown(answer).flatMap((span, index) =>
      span.regions.map((place, part) => {
        const score = place.score ?? scoreOf(span);
        return {
          id: `${index}-${part}`,
          to_name: "image",
          ...about,
          ...resultOf(place, [wordsOf(answer, span)]),
          ...(score !== null && { score }),
        };
      }),
    ),
  }));
  return [{ id: 1, data: { image: picture.name }, annotations: [], predictions }];
}

function resultOf(place: Place, labels: string[]): object {
  if (place.mask) {
    const { width, height, rle } = brushOf(place.mask);
    return {
      type: "brushlabels",
      from_name: "mask",
      original_width: width,
      original_height: height,
      value: { format: "rle", rle, brushlabels: labels },
    };
  }
  if (place.box && !place.point) {
    const [x, y, width, height] = boxPx(place, 100, 100);
    return { type: "rectanglelabels", from_name: "box", value: { x, y, width, height, rotation: 0, rectanglelabels: labels } };
  }
  const [x, y] = middlePx(place, 100, 100);
  return { type: "keypointlabels", from_name: "point", value: { x, y, width: 0.5, keypointlabels: labels } };
}

/** The picture with the places of one answer, and its words below. */
export async function asPng({ picture, question }: Turn, answer: Answer, most = 2400): Promise<Blob> {
  const wasOpen = picture.isOpen;
  await picture.reopen();
  const scale = Math.min(2, Math.max(1, 900 / picture.width), most / Math.max(picture.width, picture.height));
  const [width, height] = [Math.round(picture.width * scale), Math.round(picture.height * scale)];
  const size = Math.max(15, Math.round(width / 52));
  const asked = question.map((part) => (typeof part === "string" ? part : `[${part.number}]`)).join("");
  const measure = canvasOf(1, 1).getContext("2d")!;
  measure.font = `${size}px sans-serif`;
  const lines = linesOf(answer, measure, width - 2 * size);
  const canvas = canvasOf(width, height + (lines.length + (asked ? 1.6 : 0) + 1.2) * size * 1.5);
  const context = canvas.getContext("2d")!;
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(picture.whole, 0, 0, width, height);
  if (!wasOpen) picture.close();
  drawPlaces(context, answer, width, height, Math.max(2, size / 6));
  drawAsked(context, question, width, height, size);
  context.textBaseline = "alphabetic";
  let y = height + size * 2;
  if (asked) {
    context.font = `600 ${size}px sans-serif`;
    context.fillStyle = "#555";
    context.fillText(asked, size, y, width - 2 * size);
    y += size * 1.8;
  }
  context.font = `${size}px sans-serif`;
  for (const line of lines) {
    let x = size;
    for (const { words, colour } of line) {
      const wide = context.measureText(words).width;
      if (colour) {
        context.fillStyle = `${colour}33`;
        context.fillRect(x, y - size, wide, size * 1.3);
        context.fillStyle = colour;
        context.fillRect(x, y + size * 0.2, wide, size / 8);
      }
      context.fillStyle = "#191919";
      context.fillText(words, x, y);
      x += wide;
    }
    y += size * 1.5;
  }
  return new Promise((resolve, reject) =>
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("The picture is too large to be saved."))), "image/png"),
  );
}

function drawPlaces(context: CanvasRenderingContext2D, answer: Answer, width: number, height: number, line: number): void {
  context.lineJoin = context.lineCap = "round";
  let before: number[] | null = null;
  answer.spans.forEach((span, index) => {
    if (isBelow(answer, span)) return;
    context.strokeStyle = context.fillStyle = colourOf(answer, index);
    context.lineWidth = line;
    for (const place of span.regions) {
      if (place.number) continue; // as it was drawn, with the question
      if (place.mask && !answer.isTrace) {
        const path = new Path2D();
        path.addPath(new Path2D(maskPath(place, 1, 1)), new DOMMatrix([width, 0, 0, height, 0, 0]));
        context.globalAlpha = 0.4;
        context.fill(path, "evenodd");
        context.globalAlpha = 1;
        context.stroke(path);
      } else if (place.box && !place.point && !answer.isTrace) {
        const [x, y, wide, high] = boxPx(place, width, height);
        context.strokeRect(x, y, wide, high);
      } else if (middleOf(place)) {
        const [x, y] = middlePx(place, width, height);
        if (answer.isTrace && before) {
          context.beginPath();
          context.moveTo(before[0], before[1]);
          context.lineTo(x, y);
          context.stroke();
        }
        context.beginPath();
        context.arc(x, y, line * 2, 0, 7);
        context.fill();
        before = [x, y];
      }
    }
  });
}

/** The places that the question spoke of, with their numbers. */
function drawAsked(context: CanvasRenderingContext2D, question: Turn["question"], width: number, height: number, size: number): void {
  for (const { kind, points, number } of question.filter((part) => typeof part !== "string")) {
    const way = points.map(([x, y]) => [x * width, y * height]);
    const path = new Path2D();
    if (kind === "box") path.rect(way[0][0], way[0][1], way[1][0] - way[0][0], way[1][1] - way[0][1]);
    else way.forEach(([x, y]) => path.lineTo(x, y));
    if (kind === "polygon") path.closePath();
    for (const isHalo of [true, false]) {
      context.strokeStyle = isHalo ? "#14171d" : "#fff";
      context.lineWidth = isHalo ? size / 2.5 : size / 6;
      context.stroke(path);
    }
    context.fillStyle = "#14171d";
    context.beginPath();
    context.arc(way[0][0], way[0][1], size * 0.75, 0, 7);
    context.fill();
    context.font = `700 ${size * 0.85}px sans-serif`;
    context.fillStyle = "#fff";
    context.fillText(`${number}`, way[0][0] - context.measureText(`${number}`).width / 2, way[0][1] + size * 0.3);
  }
}

/** The answer's words in lines that fit, each piece with the colour of its phrase. */
function linesOf(answer: Answer, context: CanvasRenderingContext2D, width: number): { words: string; colour: string | null }[][] {
  const lines: { words: string; colour: string | null }[][] = [[]];
  const ends = new Set(answer.spans.flatMap((span) => [span.start, span.end]));
  let [x, at] = [0, 0];
  for (const [word] of answer.text.matchAll(/\n|\S+[^\S\n]*|[^\S\n]+/g)) {
    if (word === "\n" || x + context.measureText(word.trimEnd()).width > width) {
      lines.push([]);
      x = 0;
    }
    x += word === "\n" ? 0 : context.measureText(word).width;
    for (let begin = at; word !== "\n" && begin < at + word.length;) {
      let end = begin + 1;
      while (end < at + word.length && !ends.has(end)) end++;
      const index = answer.spans.findIndex(
        (span) => span.regions.length && span.start <= begin && begin < span.end && !isBelow(answer, span),
      );
      lines[lines.length - 1].push({ words: answer.text.slice(begin, end), colour: index < 0 ? null : colourOf(answer, index) });
      begin = end;
    }
    at += word.length;
  }
  return lines;
}

/** Hands a file to the person. */
export function save(what: Blob | object, name: string): void {
  const blob = what instanceof Blob ? what : new Blob([JSON.stringify(what, null, 1)], { type: "application/json" });
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
