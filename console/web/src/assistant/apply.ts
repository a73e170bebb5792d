/** Which code of a reply may replace a file, and what is said of it. Pure. */
import { languageOf } from '../editor/paths.ts';
import type { CodeBlock } from './markdown.ts';

/** What a fence calls the language of a file. JavaScript is TypeScript as well, and not the other way round. */
const LANGUAGES = {
  javascript: ['js', 'javascript', 'mjs', 'cjs', 'jsx', 'node', 'nodejs'],
  typescript: ['ts', 'typescript', 'mts', 'cts', 'tsx', 'js', 'javascript', 'mjs', 'cjs', 'jsx'],
  python: ['py', 'python', 'python3'],
};

/** Whether a block is code for the file at `path`; one whose end is missing is not. */
export function isFor(path: string, block: CodeBlock): boolean {
  const language = languageOf(path);
  return language !== null && block.isClosed && block.text.trim() !== '' && LANGUAGES[language].includes(block.language);
}

/** The first of `paths` that a block is for. */
export const targetOf = (paths: readonly string[], block: CodeBlock): string | null => paths.find((path) => isFor(path, block)) ?? null;

const COMMENT = /^(?:\/\/|#|\/\*|<!--|--)/;
/** What a comment says that stands in place of code. */
const OMISSION =
  /rest of (?:the code|your code|the file|the function|the handler|the logic)|rest unchanged|existing code|code unchanged|remains unchanged|remains the same|stays the same|same as before|previous code/;
/** Beside dots, words that make a comment one. */
const WORD = /\b(?:rest|existing|unchanged|remaining|same|previous|code|logic|implementation)\b/;
const DOTS = /^(?:\.{3}|…)$/;
const DOTTED = /^(?:\.{3}|…)|(?:\.{3}|…)$/;

/** Whether a block says that it left something out: applied, it would delete that. The rule is `kipper-assistant`'s. */
export function isPartial({ language, text }: CodeBlock): boolean {
  return text.split('\n').some((line) => isOmission(line.trim(), language));
}

function isOmission(line: string, language: string): boolean {
  // Python has a statement of three dots.
  if (DOTS.test(line)) return !language.startsWith('py');
  if (!COMMENT.test(line)) return false;
  const comment = line.replace(COMMENT, '').replace(/(?:\*\/|-->)$/, '').trim().toLowerCase();
  return DOTS.test(comment) || OMISSION.test(comment) || (DOTTED.test(comment) && WORD.test(comment));
}
