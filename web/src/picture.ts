/** A picture of the person's: decoded by the browser, halved until it is small, and shown from tiles, so that a very large one moves smoothly. */
import OpenSeadragon from "openseadragon";

const TILE = 512;

export class Picture {
  /** Ids of the scenes that models keep of it, by the models' names. */
  readonly scenes = new Map<string, string>();

  private constructor(
    readonly file: Blob,
    readonly name: string,
    readonly width: number,
    readonly height: number,
    readonly thumbnail: string,
    /** From the smallest to the whole. */
    private levels: ImageBitmap[],
  ) {}

  /** Reads a file; an Error with a sentence where the browser cannot. */
  static async open(file: Blob, name: string): Promise<Picture> {
    const levels = await pyramid(file);
    const whole = levels[levels.length - 1];
    return new Picture(file, name, whole.width, whole.height, thumbnail(levels), levels);
  }

  /** The whole picture, decoded. */
  get whole(): ImageBitmap {
    return this.levels[this.levels.length - 1];
  }

  get isOpen(): boolean {
    return this.levels.length > 0;
  }

  /** Decodes it again after `close`. */
  async reopen(): Promise<void> {
    if (!this.isOpen) this.levels = await pyramid(this.file);
  }

  /** Lets the pixels go; name, size and thumbnail stay. */
  close(): void {
    this.levels.forEach((level) => level.close());
    this.levels = [];
  }

  /** What OpenSeadragon shows. */
  tiles(): OpenSeadragon.TileSourceOptions {
    const { levels, width, height } = this;
    const address = `${this.name}#${serial++}`;
    return {
      width,
      height,
      tileSize: TILE,
      minLevel: 0,
      maxLevel: levels.length - 1,
      getTileUrl: (level: number, x: number, y: number) => `${address}/${level}/${x}/${y}`,
      getTilePostData: (level: number, x: number, y: number) => ({ level, x, y }),
      downloadTileStart: (job: Job) => {
        const level = levels[job.postData.level];
        if (level.width) job.finish(tile(level, job.postData.x, job.postData.y), null, "context2d");
        else job.fail("the picture was closed");
      },
      downloadTileAbort: () => {},
    } as OpenSeadragon.TileSourceOptions;
  }
}

interface Job {
  postData: { level: number; x: number; y: number };
  finish(data: CanvasRenderingContext2D, request: null, kind: string): void;
  fail(why: string): void;
}

let serial = 0;

async function pyramid(file: Blob): Promise<ImageBitmap[]> {
  let level: ImageBitmap;
  try {
    level = await createImageBitmap(file);
  } catch {
    throw new Error("This is no picture that the browser can read. PNG, JPEG and WebP are.");
  }
  const levels = [level];
  while (Math.max(level.width, level.height) > TILE) {
    const size = { resizeWidth: Math.ceil(level.width / 2), resizeHeight: Math.ceil(level.height / 2) };
    level = await createImageBitmap(level, { ...size, resizeQuality: "medium" });
    levels.unshift(level);
  }
  return levels;
}

/** A tile in memory, not on a graphics card: that would first want the whole picture there. */
function tile(level: ImageBitmap, column: number, row: number): CanvasRenderingContext2D {
  const [x, y] = [column * TILE, row * TILE];
  const [width, height] = [Math.max(1, Math.min(TILE, level.width - x)), Math.max(1, Math.min(TILE, level.height - y))];
  const context = canvasOf(width, height).getContext("2d", { willReadFrequently: true })!;
  context.drawImage(level, x, y, width, height, 0, 0, width, height);
  return context;
}

function thumbnail(levels: ImageBitmap[]): string {
  const scale = Math.min(1, 96 / Math.max(levels[0].width, levels[0].height));
  const small = canvasOf(Math.max(1, levels[0].width * scale), Math.max(1, levels[0].height * scale));
  small.getContext("2d")!.drawImage(levels[0], 0, 0, small.width, small.height);
  return small.toDataURL("image/webp", 0.8);
}

export function canvasOf(width: number, height: number): HTMLCanvasElement {
  return Object.assign(document.createElement("canvas"), { width: Math.round(width), height: Math.round(height) });
}
