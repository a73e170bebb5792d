/** The code editor, one view over the states of several files. A chunk of its own: nothing else imports it directly. */
import './editor.css';
import { defaultKeymap, history, historyKeymap, indentWithTab } from '@codemirror/commands';
import { bracketMatching, foldGutter, foldKeymap, indentOnInput, indentUnit, type Language } from '@codemirror/language';
import type { Diagnostic } from '@codemirror/lint';
import { Compartment, EditorState, type Extension, type StateEffect } from '@codemirror/state';
import {
  EditorView,
  highlightActiveLine,
  highlightActiveLineGutter,
  highlightSpecialChars,
  keymap,
  lineNumbers,
} from '@codemirror/view';
import type { Variable } from './complete.ts';
import { patiently } from '../api/patiently.ts';
import { differenceOf } from './difference.ts';
import { languageFor } from './language.ts';
import type { LintContext } from './lint.ts';
import { languageOf } from './paths.ts';
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

/** What a state has of its file's language and of the parts that are loaded later. */
interface Loaded {
  language: Language | null;
  completion: typeof import('./completion.ts') | null;
  lint: typeof import('./lint.ts') | null;
  search: typeof import('./search.ts') | null;
}

export class CodeEditor {
  /** When its first file is shown in the colours of its language. */
  readonly ready: Promise<void>;
  private readonly view: EditorView;
  private readonly hooks: EditorHooks;
  private readonly languagePart = new Compartment();
  private readonly completionPart = new Compartment();
  private readonly searchPart = new Compartment();
  private readonly loaded: Loaded = { language: null, completion: null, lint: null, search: null };
  private readonly searchKey = keymap.of([{ key: 'Mod-f', run: () => (void this.openSearch(), true) }]);
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
    this.ready = this.loadLanguage();
  }

  /** Shows a file. What was typed and undone in it before is still there. */
  open(path: string, text: string): void {
    if (path !== this.path) {
      this.parked.set(this.path, this.view.state);
      this.path = path;
      const state = this.parked.get(path) ?? this.stateOf(path, text);
      // With completion from the start: what it has begun in the file before may end in this one.
      this.view.setState(state.update({ effects: this.loadedParts() }).state);
      this.told = this.view.state.sliceDoc();
      void this.loadLanguage();
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
    const { lint } = this.loaded;
    if (lint) this.view.dispatch({ effects: lint.recheck.of(null) });
  }

  reveal(at: number): void {
    const anchor = Math.min(at, this.view.state.doc.length);
    this.view.dispatch({ selection: { anchor }, effects: EditorView.scrollIntoView(anchor, { y: 'center' }) });
    this.view.focus();
  }

  focus(): void {
    this.view.focus();
  }

  lineOf(at: number): number {
    return this.view.state.doc.lineAt(Math.min(at, this.view.state.doc.length)).number;
  }

  destroy(): void {
    this.view.destroy();
  }

  private async loadLanguage(): Promise<void> {
    const path = this.path;
    const language = await patiently(() => languageFor(path));
    if (path !== this.path) return;
    this.loaded.language = language;
    this.refresh();
    if (!this.loaded.lint) void this.loadLint();
  }

  /** After the colours have been painted: one can type already. */
  private async loadLint(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve));
    this.loaded.lint = await patiently(() => import('./lint.ts'));
    this.refresh();
  }

  private async loadCompletion(): Promise<void> {
    this.loaded.completion = await patiently(() => import('./completion.ts'));
    this.refresh();
  }

  private async openSearch(): Promise<void> {
    this.loaded.search ??= await patiently(() => import('./search.ts'));
    this.refresh();
    this.loaded.search.openSearchPanel(this.view);
  }

  /** Gives the state that is shown whatever was loaded since it was made. */
  private refresh(): void {
    this.view.dispatch({
      effects: [this.languagePart.reconfigure(this.ofLanguage(this.path)), ...this.loadedParts()],
    });
  }

  private loadedParts(): StateEffect<unknown>[] {
    const { completion, search } = this.loaded;
    const { variables, triggers } = this.hooks;
    const completionOf = completion?.completion(languageOf(this.path), variables, triggers);
    return [
      this.completionPart.reconfigure(completionOf ?? []),
      this.searchPart.reconfigure(search?.searchExtension ?? this.searchKey),
    ];
  }

  private stateOf(path: string, doc: string): EditorState {
    const extensions = [
      this.completionPart.of([]),
      this.searchPart.of(this.searchKey),
      base(),
      lineBreaks(doc),
      this.languagePart.of([]),
      this.toPage(path),
    ];
    return EditorState.create({ doc, extensions });
  }

  private ofLanguage(path: string): Extension {
    const { language, lint } = this.loaded;
    if (!language) return [];
    const judge = lint?.problems(path, this.hooks.context, (found) => this.hooks.onProblems(path, found));
    return [language, indentUnit.of(languageOf(path) === 'python' ? '    ' : '  '), judge ?? []];
  }

  private toPage(path: string): Extension {
    return [
      EditorView.updateListener.of((update) => {
        if (update.focusChanged && update.view.hasFocus && !this.loaded.completion) void this.loadCompletion();
        if (!update.docChanged) return;
        this.told = update.state.sliceDoc();
        this.hooks.onText(path, this.told);
      }),
      EditorView.contentAttributes.of({
        'aria-label': `Code of ${path}. Tab indents; press Escape and then Tab to leave the editor.`,
        'aria-multiline': 'true',
        // Also where it is read-only, which takes it out of the order of Tab.
        tabindex: '0',
      }),
      this.hooks.isReadOnly() ? [EditorState.readOnly.of(true), EditorView.editable.of(false)] : [],
    ];
  }
}

/**
 * Typing over a selection. Chromium, left to do it, keeps the look of the lines that it joins by inline styles, and the CSP
 * reports each of them.
 */
function typeOver(event: InputEvent, view: EditorView): boolean {
  const { main, ranges } = view.state.selection;
  const text = event.data;
  const isTyping = event.inputType === 'insertText' && text !== null && !view.composing;
  if (!isTyping || main.empty || ranges.length > 1 || view.state.readOnly) return false;
  event.preventDefault();
  const insert = () => view.state.update(view.state.replaceSelection(text), { userEvent: 'input.type', scrollIntoView: true });
  const handlers = view.state.facet(EditorView.inputHandler);
  if (!handlers.some((handler) => handler(view, main.from, main.to, text, insert))) view.dispatch(insert());
  return true;
}

/** A file with the line breaks of Windows keeps them; a mixture becomes one of the usual ones. */
function lineBreaks(text: string): Extension {
  return text.includes('\r\n') && !/(^|[^\r])\n/.test(text) ? EditorState.lineSeparator.of('\r\n') : [];
}

function base(): Extension {
  const nonce = document.querySelector<HTMLMetaElement>('meta[name=csp-nonce]')?.content ?? '';
  return [
    EditorView.cspNonce.of(nonce),
    theme,
    EditorView.domEventHandlers({ beforeinput: typeOver }),
    lineNumbers(),
    highlightActiveLineGutter(),
    foldGutter(),
    highlightSpecialChars(),
    history(),
    indentOnInput(),
    bracketMatching(),
    highlightActiveLine(),
    EditorState.tabSize.of(4),
    keymap.of([...historyKeymap, ...foldKeymap, ...defaultKeymap, indentWithTab]),
  ];
}
