/** A file beside what would replace it. A chunk of its own: loaded with the first Apply. */
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

/** Each change can be left out; what remains is the text that is applied. */
export async function showMerge(parent: HTMLElement, path: string, former: string, next: string): Promise<() => string> {
  const nonce = document.querySelector<HTMLMetaElement>('meta[name=csp-nonce]')?.content ?? '';
  const language = await languageFor(path);
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
  return () => view.state.doc.toString();
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
