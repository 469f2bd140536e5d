/** Masks: COCO's run lengths opened, outlined for the screen, and written as Label Studio wants them. */
import type { Pt, Runs } from "./kinds";

/** The lengths of the runs, which begin with the unset pixels, column by column. */
export function runsOf({ counts }: Runs): number[] {
  if (typeof counts !== "string") return counts;
  const runs: number[] = [];
  for (let at = 0; at < counts.length;) {
    let [value, shift, bits] = [0, 0, 32];
    while (bits & 32) {
      bits = counts.charCodeAt(at++) - 48;
      value += (bits & 31) * 2 ** shift;
      shift += 5;
    }
    if (bits & 16) value -= 2 ** shift;
    runs.push(runs.length > 2 ? value + runs[runs.length - 2] : value);
  }
  return runs;
}

/** The pixels of a mask, row by row, on a raster of its own size, or smaller with at most `most` pixels a side. */
export function rasterOf(mask: Runs, most = Infinity): { width: number; height: number; bits: Uint8Array } {
  const [tall, wide] = mask.size;
  const step = Math.max(1, Math.ceil(Math.max(tall, wide) / most));
  const [width, height] = [Math.ceil(wide / step), Math.ceil(tall / step)];
  const bits = new Uint8Array(width * height);
  let at = 0;
  runsOf(mask).forEach((run, index) => {
    if (index % 2) {
      for (let column = Math.floor(at / tall); column * tall < at + run; column++) {
        if (column % step) continue;
        const from = Math.max(at - column * tall, 0);
        const to = Math.min(at + run - column * tall, tall);
        for (let row = Math.ceil(from / step); row * step < to; row++) bits[row * width + column / step] = 1;
      }
    }
    at += run;
  });
  return { width, height, bits };
}

/** The outlines of a mask along the edges of its pixels, as closed polygons in fractions of the picture. */
export function outlinesOf(mask: Runs, most = 512): Pt[][] {
  const { width, height, bits } = rasterOf(mask, most);
  const isSet = (x: number, y: number) => x >= 0 && y >= 0 && x < width && y < height && bits[y * width + x] === 1;
  const next = new Map<number, number[]>(); // from corner to corner, the set pixels on the right hand
  const corner = (x: number, y: number) => y * (width + 1) + x;
  const edge = (from: number, to: number) => (next.get(from) ?? next.set(from, []).get(from)!).push(to);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!isSet(x, y)) continue;
      if (!isSet(x, y - 1)) edge(corner(x, y), corner(x + 1, y));
      if (!isSet(x + 1, y)) edge(corner(x + 1, y), corner(x + 1, y + 1));
      if (!isSet(x, y + 1)) edge(corner(x + 1, y + 1), corner(x, y + 1));
      if (!isSet(x - 1, y)) edge(corner(x, y + 1), corner(x, y));
    }
  }
  const outlines: Pt[][] = [];
  for (const start of next.keys()) {
    while (next.get(start)!.length) {
      const way: number[] = [start];
      for (let at = next.get(start)!.pop()!; at !== start; at = next.get(at)!.pop()!) way.push(at);
      const points = way.map((at): Pt => [at % (width + 1), Math.floor(at / (width + 1))]);
      outlines.push(points.filter((point, index) => turns(points, index, point)).map(([x, y]): Pt => [x / width, y / height]));
    }
  }
  return outlines;
}

/** Whether the way turns at a point: those in the middle of a straight edge are left out. */
function turns(points: Pt[], index: number, [x, y]: Pt): boolean {
  const before = points.at(index - 1)!;
  const after = points[(index + 1) % points.length];
  return (before[0] === x) !== (x === after[0]) || (before[1] === y) !== (y === after[1]);
}

/** Label Studio's run lengths of a mask: bits of (how many, how long, which value), each pixel four bytes of red, green, blue and alpha. */
export function brushOf(mask: Runs): { width: number; height: number; rle: number[] } {
  const { width, height, bits } = rasterOf(mask);
  const out: number[] = [];
  let [byte, filled] = [0, 0];
  const write = (value: number, count: number) => {
    for (let bit = count - 1; bit >= 0; bit--) {
      byte = (byte << 1) | (Math.floor(value / 2 ** bit) & 1);
      if (++filled === 8) {
        out.push(byte);
        byte = filled = 0;
      }
    }
  };
  write(bits.length * 4, 32);
  write(7, 5); // words of 8 bits
  for (const size of [3, 4, 8, 16]) write(size - 1, 4); // how many bits a length may have
  for (let at = 0; at < bits.length;) {
    let end = at + 1;
    while (end < bits.length && bits[end] === bits[at] && end - at < 2 ** 14) end++;
    write(1, 1);
    write(3, 2);
    write((end - at) * 4 - 1, 16);
    write(bits[at] ? 255 : 0, 8);
    at = end;
  }
  if (filled) write(0, 8 - filled);
  return { width, height, rle: out };
}
