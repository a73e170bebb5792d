/** About how many tokens a question has. The rule is that of `kipper-assistant` (`estimate.rs`), weight by weight. Pure. */
import type { Ask, Knows, Usage } from '../api/types.ts';
import { isWithheld } from './attachments.ts';

/** Below this nobody needs to know. */
export const SHOWN_TOKENS = 1000;
export const MANY_TOKENS = 100_000;

/** Hundredths of a token. */
const WORD = 38;
const LETTER = 15;
const ACCENT = 140;
const DIGIT = 70;
const PUNCTUATION = 60;
const LINE = 30;
const OTHER = 31;
const WIDE = 80;
/** Where the scripts other than Latin begin, and the ideographs. */
const OTHER_FROM = 0x370;
const WIDE_FROM = 0x2e80;

const isUpper = (code: number): boolean => code >= 65 && code <= 90;
const isLatin = (code: number): boolean => isUpper(code) || (code >= 97 && code <= 122) || (code >= 0xa1 && code < OTHER_FROM);

export function tokensOf(text: string): number {
  let sum = 0;
  let before = 32;
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    sum += weightOf(code, before);
    before = code;
  }
  return Math.ceil(sum / 100);
}

function weightOf(code: number, before: number): number {
  if (isLatin(code)) {
    const beginsWord = !isLatin(before) || (isUpper(code) && !isUpper(before));
    return LETTER + (code < 128 ? 0 : ACCENT) + (beginsWord ? WORD : 0);
  }
  if (code >= 48 && code <= 57) return DIGIT;
  if (code === 10) return LINE;
  if (code > 32 && code < 127) return PUNCTUATION;
  if (code < OTHER_FROM) return 0;
  return code < WIDE_FROM ? OTHER : WIDE;
}

/** The rules that the server puts before every question. */
export const RULES_TOKENS = 560;

/** About as many tokens as are sent for a question, the rules and what Kipper knows among them. */
export function estimate({ messages, draft, attachments }: Ask, knows: Knows | null): number {
  const names = knows ? Object.values(knows).flat().join(' ') : '';
  const code = Object.entries(draft.code).map(([path, text]): [string, string] => [path, isWithheld(path, text) ? '' : text]);
  const files = [...code, ...attachments.map(({ name, text }): [string, string] => [name, text])];
  const texts = [names, ...messages.map(({ text }) => text), ...files.flat()];
  return texts.reduce((sum, text) => sum + tokensOf(text), RULES_TOKENS);
}

const number = (count: number): string => count.toLocaleString('en');

/** What a question costs, in words; the provider's own count where there is one. */
export function costWords(tokens: number, usage: Usage | null): string {
  if (usage && usage.input !== null) {
    return `${number(usage.input)} tokens sent${usage.output === null ? '' : `, ${number(usage.output)} received`}`;
  }
  if (tokens <= SHOWN_TOKENS) return '';
  const words = `About ${number(tokens)} tokens`;
  return tokens < MANY_TOKENS ? words : `${words}. Remove attachments, so that the model keeps to what matters.`;
}
