/** The search panel: loaded when it is opened for the first time. */
import { highlightSelectionMatches, openSearchPanel, search, searchKeymap } from '@codemirror/search';
import type { Extension } from '@codemirror/state';
import { keymap } from '@codemirror/view';

export const searchExtension: Extension = [search({ top: true }), highlightSelectionMatches(), keymap.of([...searchKeymap])];
export { openSearchPanel };
