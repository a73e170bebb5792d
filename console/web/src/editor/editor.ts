/** The code editor, one view over the states of several files. A chunk of its own: nothing else imports it directly. */
import './editor.css';
import {
  acceptCompletion,
  autocompletion,
  closeBrackets,
  closeBracketsKeymap,
  completeAnyWord,
  completionKeymap,
} from '@codemirror/autocomplete';
import { defaultKeymap, history, historyKeymap, indentWithTab } from '@codemirror/commands';
import { javascript } from '@codemirror/lang-javascript';
import { python } from '@codemirror/lang-python';
import { bracketMatching, foldGutter, foldKeymap, indentOnInput, indentUnit, LanguageSupport } from '@codemirror/language';
import { lintGutter, lintKeymap, type Diagnostic } from '@codemirror/lint';
import { highlightSelectionMatches, searchKeymap } from '@codemirror/search';
import { EditorState, type Extension } from '@codemirror/state';
import {
  drawSelection,
  EditorView,
  highlightActiveLine,
  highlightActiveLineGutter,
  highlightSpecialChars,
  keymap,
  lineNumbers,
} from '@codemirror/view';
import { differenceOf } from './difference.ts';
import { platformSource, type Variable } from './complete.ts';
import { languageOf } from './paths.ts';
import { problemLinter, recheck, type LintContext } from './lint.ts';
import { theme } from './theme.ts';

export type { Diagnostic };

/** What the editor asks for and tells; the getters are read at each check and completion. */
export interface EditorHooks {
  context(): LintContext;
  variables(): Variable[];
  triggers(): string[];
  isReadOnly(): boolean;
  onText(path: string, text: string): void;
  onProblems(path: string, problems: Diagnostic[]): void;
}

export class CodeEditor {
  private readonly view: EditorView;
  private readonly hooks: EditorHooks;
  /** Files that were open before, with their history and caret. */
  private readonly parked = new Map<string, EditorState>();
  private path: string;
  /** The text that the page was told last. */
  private told: string;

  constructor(parent: HTMLElement, path: string, text: string, hooks: EditorHooks) {
    this.hooks = hooks;
    this.path = path;
    this.told = text;
    this.view = new EditorView({ parent, state: this.stateOf(path, text) });
  }

  /** Shows a file. What was typed and undone in it before is still there. */
  open(path: string, text: string): void {
    if (path !== this.path) {
      this.parked.set(this.path, this.view.state);
      this.path = path;
      this.view.setState(this.parked.get(path) ?? this.stateOf(path, text));
    }
    this.update(text);
  }

  /** Takes over a text that was changed elsewhere, as one step that can be undone; caret and scroll stay. */
  update(text: string): void {
    if (text === this.told) return;
    const changes = differenceOf(this.view.state.doc.toString(), text.replace(/\r\n?/g, '\n'));
    if (changes) this.view.dispatch({ changes, userEvent: 'input.replace' });
  }

  forget(path: string): void {
    this.parked.delete(path);
  }

  /** Judges anew, after something beside the text has changed. */
  check(): void {
    this.view.dispatch({ effects: recheck.of(null) });
  }

  reveal(at: number): void {
    const anchor = Math.min(at, this.view.state.doc.length);
    this.view.dispatch({ selection: { anchor }, effects: EditorView.scrollIntoView(anchor, { y: 'center' }) });
    this.view.focus();
  }

  lineOf(at: number): number {
    return this.view.state.doc.lineAt(Math.min(at, this.view.state.doc.length)).number;
  }

  focus(): void {
    this.view.focus();
  }

  destroy(): void {
    this.view.destroy();
  }

  private stateOf(path: string, doc: string): EditorState {
    return EditorState.create({ doc, extensions: [base(), lineBreaks(doc), this.ofFile(path), this.toPage(path)] });
  }

  private ofFile(path: string): Extension {
    const support = supportOf(path);
    const language = languageOf(path);
    if (!support || !language) return [];
    const source = platformSource(language, this.hooks.variables, this.hooks.triggers);
    const lint = problemLinter(path, this.hooks.context, (found) => this.hooks.onProblems(path, found));
    return [
      support,
      indentUnit.of(language === 'python' ? '    ' : '  '),
      support.language.data.of({ autocomplete: source }),
      support.language.data.of({ autocomplete: completeAnyWord }),
      lint,
    ];
  }

  private toPage(path: string): Extension {
    return [
      EditorView.updateListener.of((update) => {
        if (!update.docChanged) return;
        this.told = update.state.sliceDoc();
        this.hooks.onText(path, this.told);
      }),
      EditorView.contentAttributes.of({
        'aria-label': `Code of ${path}. Tab indents; press Escape and then Tab to leave the editor.`,
        'aria-multiline': 'true',
      }),
      this.hooks.isReadOnly() ? [EditorState.readOnly.of(true), EditorView.editable.of(false)] : [],
    ];
  }
}

/** A file with the line breaks of Windows keeps them; a mixture becomes one of the usual ones. */
function lineBreaks(text: string): Extension {
  return text.includes('\r\n') && !/(^|[^\r])\n/.test(text) ? EditorState.lineSeparator.of('\r\n') : [];
}

function supportOf(path: string): LanguageSupport | null {
  switch (languageOf(path)) {
    case 'javascript':
      return javascript();
    case 'typescript':
      return javascript({ typescript: true, jsx: path.endsWith('x') });
    case 'python':
      return python();
    default:
      return null;
  }
}

function base(): Extension {
  const nonce = document.querySelector<HTMLMetaElement>('meta[name=csp-nonce]')?.content ?? '';
  return [
    EditorView.cspNonce.of(nonce),
    theme,
    lineNumbers(),
    highlightActiveLineGutter(),
    foldGutter(),
    lintGutter(),
    highlightSpecialChars(),
    history(),
    drawSelection(),
    indentOnInput(),
    bracketMatching(),
    closeBrackets(),
    autocompletion({ maxRenderedOptions: 50 }),
    highlightActiveLine(),
    highlightSelectionMatches(),
    EditorState.tabSize.of(4),
    keymap.of([
      { key: 'Tab', run: acceptCompletion },
      ...closeBracketsKeymap,
      ...searchKeymap,
      ...historyKeymap,
      ...foldKeymap,
      ...completionKeymap,
      ...lintKeymap,
      ...defaultKeymap,
      indentWithTab,
    ]),
  ];
}
