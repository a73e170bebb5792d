/** A file beside what would replace it. A chunk of its own: loaded with the first Apply. */
import type { Language } from '@codemirror/language';
import { unifiedMergeView } from '@codemirror/merge';
import { EditorState } from '@codemirror/state';
import { EditorView, lineNumbers } from '@codemirror/view';
import { languageFor } from '../editor/language.ts';
import { theme } from '../editor/theme.ts';

const look = EditorView.theme({
  '&': { height: 'auto' },
  '.cm-changedLine, .cm-insertedLine': { backgroundColor: 'var(--good-soft) !important' },
  '.cm-deletedChunk': { backgroundColor: 'var(--bad-soft)' },
  '.cm-changedText': { background: 'var(--code-match) !important' },
  '.cm-deletedChunk .cm-deletedText': { background: 'var(--code-mismatch) !important' },
  '.cm-deletedChunk .cm-chunkButtons': { insetInlineEnd: '6px', zIndex: 1 },
  // The package has them white on colours of its own.
  '.cm-deletedChunk .cm-chunkButtons button': { color: 'var(--text)', fontFamily: 'var(--sans)' },
  '.cm-collapsedLines': { background: 'var(--hover)', color: 'var(--text-soft)', padding: '3px 10px', cursor: 'pointer' },
});

/** A comparison that is shown. */
export interface Merge {
  /** What is applied: each change can be left out. */
  text(): string;
  destroy(): void;
}

/** What shows files of this name beside what would replace them. */
export async function mergeFor(path: string): Promise<(parent: HTMLElement, former: string, next: string) => Merge> {
  const language = await languageFor(path);
  return (parent, former, next) => show(parent, path, language, former, next);
}

function show(parent: HTMLElement, path: string, language: Language | null, former: string, next: string): Merge {
  const nonce = document.querySelector<HTMLMetaElement>('meta[name=csp-nonce]')?.content ?? '';
  const view = new EditorView({
    parent,
    state: EditorState.create({
      doc: next,
      extensions: [
        EditorView.cspNonce.of(nonce),
        theme,
        look,
        lineNumbers(),
        language ?? [],
        EditorView.editable.of(false),
        EditorView.contentAttributes.of({ 'aria-label': `What would change in ${path}`, tabindex: '0' }),
        unifiedMergeView({
          original: former.replace(/\r\n?/g, '\n'),
          collapseUnchanged: { margin: 3, minSize: 6 },
          mergeControls: (type, leaveOut) => (type === 'reject' ? leaveOutButton(leaveOut) : nothing()),
        }),
      ],
    }),
  });
  return { text: () => view.state.doc.toString(), destroy: () => view.destroy() };
}

function leaveOutButton(leaveOut: (event: MouseEvent) => void): HTMLElement {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'button small';
  button.textContent = 'Leave this out';
  button.addEventListener('click', leaveOut);
  return button;
}

const nothing = (): HTMLElement => document.createElement('span');
