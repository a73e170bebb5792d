/** Completion and the closing of brackets: loaded when the editor gets the focus for the first time. */
import {
  acceptCompletion,
  autocompletion,
  closeBrackets,
  closeBracketsKeymap,
  completeAnyWord,
  completeFromList,
  completionKeymap,
  ifNotIn,
  type CompletionContext,
  type CompletionResult,
} from '@codemirror/autocomplete';
import { Prec, type Extension } from '@codemirror/state';
import { keymap } from '@codemirror/view';
import { offer, type Variable } from './complete.ts';
import type { LanguageName } from './paths.ts';

/** Where words are prose. */
const PROSE = ['String', 'TemplateString', 'FormatString', 'RegExp', 'Comment', 'LineComment', 'BlockComment'];

const JAVASCRIPT =
  'async await break case catch class const continue default delete else export extends false finally for from function if ' +
  'import instanceof let new null of return static super switch this throw true try typeof undefined var void while yield ' +
  'Array Buffer Date Error JSON Map Math Number Object Promise RegExp Response Set String URL URLSearchParams console exports ' +
  'fetch module process require setTimeout structuredClone';

const PYTHON =
  'False None True and as assert async await break case class continue def del elif else except finally for from global if ' +
  'import in is lambda match nonlocal not or pass raise return try while with yield Exception KeyError ValueError all any bool ' +
  'bytes dict enumerate filter float int isinstance len list map max min open print range repr reversed round set sorted str ' +
  'sum tuple type zip';

/** Completion for files of one language; the getters are asked whenever there is something to complete. */
export function completion(language: LanguageName | null, variables: () => Variable[], triggers: () => string[]): Extension {
  const keywords = language === 'python' ? PYTHON : JAVASCRIPT;
  const ofLanguage = language
    ? [platformSource(language, variables, triggers), ifNotIn(PROSE, completeFromList(keywords.split(' ')))]
    : [];
  return [
    autocompletion({ maxRenderedOptions: 50, override: [...ofLanguage, ifNotIn(PROSE, completeAnyWord)] }),
    closeBrackets(),
    // Before Tab indents and Enter breaks the line.
    Prec.high(keymap.of([{ key: 'Tab', run: acceptCompletion }, ...closeBracketsKeymap, ...completionKeymap])),
  ];
}

function platformSource(language: LanguageName, variables: () => Variable[], triggers: () => string[]) {
  return (context: CompletionContext): CompletionResult | null => {
    const line = context.state.doc.lineAt(context.pos);
    const found = offer(language, line.text.slice(0, context.pos - line.from), variables(), triggers());
    if (!found) return null;
    return { from: line.from + found.from, options: found.options, validFor: /^[\w$]*$/ };
  };
}
