/**
 * Syntax errors, from the error nodes of the tree that the editor has anyway. Never a reason to refuse a save: the
 * grammars know a little less than Node and Python do, and what is known of that is left out here.
 */
import type { SyntaxNode, Tree } from '@lezer/common';
import { languageOf, type LanguageName } from './paths.ts';

export interface Problem {
  from: number;
  to: number;
  severity: 'error' | 'warning';
  message: string;
}

/** More would be the echo of the first ones. */
const MAX_PROBLEMS = 20;
const OPENERS: Record<string, string> = { '(': ')', '[': ']', '{': '}', '${': '}' };
const OPEN_TOKENS = new Set(['(', '[', '{', 'InterpolationStart']);

export function syntaxProblems(path: string, tree: Tree, text: string): Problem[] {
  const language = languageOf(path);
  if (language === null) return [];
  const problems: Problem[] = [];
  const lines = new Set<number>();
  let closed = -1;
  tree.iterate({
    enter: ({ node }): boolean | void => {
      if (problems.length >= MAX_PROBLEMS) return false;
      const problem = problemAt(node, language, text);
      // The error behind a string that is not closed is that string's.
      if (!problem || (node.type.isError && node.from === closed)) return;
      if (isString(node)) closed = node.to;
      // One problem for each line: what follows on it is mostly a consequence.
      const start = text.lastIndexOf('\n', problem.from - 1);
      if (lines.has(start)) return;
      lines.add(start);
      problems.push(problem);
    },
  });
  return problems;
}

function problemAt(node: SyntaxNode, language: LanguageName, text: string): Problem | null {
  if (isString(node) && isUnclosed(node, text)) {
    return { ...firstLine(node, text), severity: 'error', message: 'This string is not closed.' };
  }
  if (!node.type.isError || isKnownGap(node, language, text)) return null;
  return { ...span(node, text), severity: language === 'typescript' ? 'warning' : 'error', message: messageOf(node, text) };
}

/** The opening bracket that is never closed says more than the place where that was noticed. */
function messageOf(node: SyntaxNode, text: string): string {
  const parent = node.parent;
  const found = text.slice(node.from, node.to).trim() || (/\S+/.exec(text.slice(node.to, node.to + 40))?.[0] ?? '');
  const seen = found.slice(0, 20);
  for (let child = parent?.firstChild ?? null; child; child = child.nextSibling) {
    if (!OPEN_TOKENS.has(child.name)) continue;
    const closer = OPENERS[text.slice(child.from, child.to)];
    const isClosed = parent?.lastChild && text.slice(parent.lastChild.from, parent.lastChild.to) === closer;
    if (closer && !isClosed && node.from >= child.to) {
      return `Syntax error: “${closer}” expected for the “${text.slice(child.from, child.to)}” in line ${lineOf(child.from, text)}.`;
    }
  }
  if (/^(Block|ClassBody|Body)$/.test(parent?.name ?? '') && seen === '') return 'Syntax error: the code ends in the middle of a block.';
  return seen === '' ? 'Syntax error: something is missing at the end.' : `Syntax error: “${seen}” is not expected here.`;
}

function lineOf(at: number, text: string): number {
  return text.slice(0, at).split('\n').length;
}

/** An empty error node is shown on what follows it, or at the end of its line. */
function span(node: SyntaxNode, text: string): { from: number; to: number } {
  if (node.to > node.from && text.slice(node.from, node.to).trim() !== '') return firstLine(node, text);
  const next = /^[^\S\n]*\S/.exec(text.slice(node.from, node.from + 200));
  if (next) return { from: node.from + next[0].length - 1, to: node.from + next[0].length };
  const end = text.slice(0, node.from).trimEnd().length;
  return { from: Math.max(0, end - 1), to: end };
}

function firstLine(node: SyntaxNode, text: string): { from: number; to: number } {
  const end = text.indexOf('\n', node.from);
  return { from: node.from, to: end < 0 || end > node.to ? node.to : Math.max(end, node.from + 1) };
}

function isString(node: SyntaxNode): boolean {
  return node.name === 'String' || node.name === 'FormatString';
}

/** The grammars take a line break for the end of a string. */
function isUnclosed(node: SyntaxNode, text: string): boolean {
  const written = text.slice(node.from, node.to);
  const quote = /^[a-zA-Z]{0,2}("""|'''|"|')/.exec(written);
  if (!quote?.[1]) return false;
  return written.length < quote[0].length + quote[1].length || !written.endsWith(quote[1]);
}

/** Correct code that the grammars do not know, found by parsing the standard library and npm packages. */
function isKnownGap(node: SyntaxNode, language: LanguageName, text: string): boolean {
  const parent = node.parent;
  const before = text.slice(Math.max(0, node.from - 60), node.from);
  const after = text.slice(node.from, node.from + 20);
  if (language !== 'python' && /\)\s*[+\-*/]?$/.test(before) && /^[+\-*/]?=[^=>]/.test(after)) return true;
  if (language !== 'python') return /\}\s*(=\s*)?$/.test(before) && /^[^;\n]*=|^=?\s*[\w$]/.test(after) && isAssigned(parent);
  if (parent?.name === 'YieldStatement' || parent?.name === 'YieldExpression') return node.from === node.to;
  if (parent?.name === 'MemberExpression' && /\d\.\s*$/.test(before)) return true;
  if (/\f\s*$/.test(before) || after.startsWith('\f')) return true;
  const line = lineAt(node.from, text);
  if (/^\s*case\b.*\(\s*\)/.test(line)) return true;
  return /^\s*(async\s+)?with\b.*\bas\s*\(/.test(line) || isInWith(node, text);
}

function lineAt(at: number, text: string): string {
  return text.slice(text.lastIndexOf('\n', at - 1) + 1, at + 100).split('\n', 1)[0] ?? '';
}

/** `({a: b.c} = d)`: a pattern with members as its targets. */
function isAssigned(parent: SyntaxNode | null): boolean {
  return /^(CallExpression|ParenthesizedExpression|ArgList|SequenceExpression)$/.test(parent?.name ?? '');
}

/** `with (open(a) as b, open(c) as d):`. */
function isInWith(node: SyntaxNode, text: string): boolean {
  for (let at: SyntaxNode | null = node; at && at.name !== 'Body'; at = at.parent) {
    if (at.name === 'WithStatement') return /^(async\s+)?with\s*\(/.test(text.slice(at.from, at.to));
  }
  return false;
}
