/** Colour maps, computed as in `nbviz/analysis/colormaps.py`; the same vectors test both. */

export type Colormap = "diverging" | "sequential" | "grey";

/** The 256 colours of a map as 768 sRGB bytes, from its lowest to its highest value. */
export function colormapBytes(name: Colormap): Uint8ClampedArray {
  const bytes = new Uint8ClampedArray(768);
  for (let i = 0; i < 256; i++) {
    const t = i / 255;
    let colour: [number, number, number];
    if (name === "grey") colour = [i, i, i];
    else if (name === "sequential") {
      colour = oklch(0.18 + 0.78 * t, 0.08 + 0.01 * Math.sin(Math.PI * t), 300 - 192 * t);
    } else {
      const arm = Math.abs(2 * t - 1);
      colour = oklch(0.97 - 0.55 * arm, 0.13 * Math.sin(0.5 * Math.PI * arm), t < 0.5 ? 255 : 45);
    }
    bytes.set(colour, 3 * i);
  }
  return bytes;
}

/** Maps that were computed before: a view asks for one at every frame. */
const pixelsOf = new Map<Colormap, Uint32Array>();

/** The same colours as 32-bit pixels in the byte order of ImageData. */
export function colormapPixels(name: Colormap): Uint32Array {
  const known = pixelsOf.get(name);
  if (known) return known;
  const bytes = colormapBytes(name);
  const pixels = Uint32Array.from({ length: 256 }, (_, i) =>
    pixel(bytes[3 * i] as number, bytes[3 * i + 1] as number, bytes[3 * i + 2] as number),
  );
  pixelsOf.set(name, pixels);
  return pixels;
}

/** The map as a CSS gradient from left to right, for a legend. */
export function colormapGradient(name: Colormap): string {
  const bytes = colormapBytes(name);
  const stops = Array.from({ length: 17 }, (_, i) => {
    const at = 3 * Math.min(255, i * 16);
    return `rgb(${bytes[at]} ${bytes[at + 1]} ${bytes[at + 2]})`;
  });
  return `linear-gradient(to right, ${stops.join(", ")})`;
}

/** One opaque pixel; every platform with a browser is little-endian. */
export function pixel(red: number, green: number, blue: number): number {
  return (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0;
}

/** OKLab in polar form to sRGB bytes (Ottosson 2020). */
export function oklch(
  lightness: number,
  chroma: number,
  degrees: number,
): [number, number, number] {
  const a = chroma * Math.cos((degrees * Math.PI) / 180);
  const b = chroma * Math.sin((degrees * Math.PI) / 180);
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    encode(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
    encode(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
    encode(-0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s),
  ];
}

function encode(linear: number): number {
  const x = Math.min(1, Math.max(0, linear));
  return Math.floor(255 * (x <= 0.0031308 ? 12.92 * x : 1.055 * x ** (1 / 2.4) - 0.055) + 0.5);
}
