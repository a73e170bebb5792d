/** The editor's problems: syntax, a handler that is not there, packages that are not declared. */
import { ensureSyntaxTree, syntaxTree, syntaxTreeAvailable } from '@codemirror/language';
import { linter, lintGutter, nextDiagnostic, type Action, type Diagnostic } from '@codemirror/lint';
import { StateEffect, type EditorState, type Extension } from '@codemirror/state';
import { keymap, type EditorView } from '@codemirror/view';
import { handlerProblem } from './handler.ts';
import { importsOfTree } from './imports.ts';
import { languageOf, type Runtime } from './paths.ts';
import { missing } from './scan.ts';
import { syntaxProblems } from './syntax.ts';

/** With the time of a check, well below the half second that is promised. */
const DELAY_MS = 200;
/** How long one check may wait for the parser; the rest of a large file is parsed while nothing else is to be done. */
const PARSE_MS = 60;

/** Asks for a check after something beside the text has changed. */
export const recheck = StateEffect.define<null>();

/** What judging a file needs to know about the function. */
export interface LintContext {
  runtime: Runtime;
  files: Record<string, string>;
  /** The file that holds the handler. */
  entry: string | null;
  handler: string | undefined;
  packages: string[];
  /** Absent where packages are declared in a file of their own. */
  addPackage?: (name: string) => void;
}

export function problemsOf(state: EditorState, path: string, context: LintContext): Diagnostic[] {
  const text = state.doc.toString();
  const tree = ensureSyntaxTree(state, state.doc.length, PARSE_MS) ?? syntaxTree(state);
  const isWhole = syntaxTreeAvailable(state, state.doc.length);
  // What was not parsed yet looks like an error at the end of what was.
  const known = isWhole ? text.length + 1 : tree.length;
  const found: Diagnostic[] = syntaxProblems(path, tree, text).filter(({ from }) => from < known);
  if (!isWhole || !isOfRuntime(path, context.runtime)) return found;
  if (path === context.entry) {
    const message = handlerProblem(path, tree, text, context.handler);
    if (message) found.push({ from: 0, to: Math.min(state.doc.line(1).to, text.length), severity: 'error', message });
  }
  for (const { name, from, to } of missing(context.runtime, importsOfTree(path, tree, text), context.files, context.packages)) {
    const message = `The package ${name} is not among the dependencies.`;
    found.push({ from, to, severity: 'warning', message, actions: addAction(name, context) });
  }
  return found;
}

function addAction(name: string, { addPackage }: LintContext): Action[] {
  return addPackage ? [{ name: `Add ${name}`, apply: () => addPackage(name) }] : [];
}

function isOfRuntime(path: string, runtime: Runtime): boolean {
  const language = languageOf(path);
  return language !== null && (language === 'python') === (runtime === 'python');
}

/** Checks a file after each change, and tells what it finds. */
export function problems(path: string, context: () => LintContext, report: (found: Diagnostic[]) => void): Extension {
  const source = (view: EditorView) => {
    const found = problemsOf(view.state, path, context());
    report(found);
    return found;
  };
  const check = linter(source, {
    delay: DELAY_MS,
    needsRefresh: (update) =>
      syntaxTree(update.startState) !== syntaxTree(update.state) ||
      update.transactions.some((transaction) => transaction.effects.some((effect) => effect.is(recheck))),
  });
  return [check, lintGutter(), keymap.of([{ key: 'F8', run: nextDiagnostic }])];
}
