/**
 * Log text made safe to look at: what a terminal would obey, and what would change the order of what is read, is shown as
 * a sign of its own. Nothing is taken away. Pure.
 */

/** Beyond this a row shows the beginning only; the whole line is a click away. */
export const CLIP = 2000;

/** C0 and C1 controls except tab, line and paragraph separators, bidirectional controls, byte order mark, lone surrogates. */
const ODD =
  /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

export function visible(text: string): string {
  return text.replace(ODD, (odd) => {
    const code = odd.charCodeAt(0);
    // The control pictures stand in the order of the controls.
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    if (code === 0x7f) return '␡';
    return `\\u{${code.toString(16)}}`;
  });
}

export interface Shown {
  text: string;
  isClipped: boolean;
}

/** The beginning of a line, at most `CLIP` characters of it. */
export function clipped(text: string): Shown {
  if (text.length <= CLIP) return { text: visible(text), isClipped: false };
  // Not in the middle of a character of two units.
  const last = text.charCodeAt(CLIP - 1);
  const end = last >= 0xd800 && last <= 0xdbff ? CLIP - 1 : CLIP;
  return { text: visible(text.slice(0, end)), isClipped: true };
}

/** The whole of a line, with its line breaks and those of a stack written as `\n`. */
export function whole(text: string): string {
  return text.split(/\r\n|\n/).map(visible).join('\n');
}

export function size(characters: number): string {
  if (characters < 1000) return `${characters} characters`;
  if (characters < 1_000_000) return `${Math.round(characters / 1000)} thousand characters`;
  return `${(characters / 1_000_000).toFixed(1)} million characters`;
}

/** What tells pods of one function from each other: the end of their name. A process that is no pod has its part's name. */
export function podLabel(pod: string, container: string, functionName: string): string {
  if (pod === functionName || pod === '') return container;
  const rest = pod.startsWith(`${functionName}-`) ? pod.slice(functionName.length + 1) : pod;
  return rest.split('-').at(-1) || pod;
}

/** One of `count` colours, always the same for a pod. */
export function colorOf(pod: string, count: number): number {
  let hash = 0;
  for (let at = 0; at < pod.length; at += 1) hash = (hash * 31 + pod.charCodeAt(at)) | 0;
  return Math.abs(hash) % count;
}
