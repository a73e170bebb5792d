/** Colours and measures of the editor. Both themes are in the variables of editor.css, so switching needs no new state. */
import { HighlightStyle, syntaxHighlighting } from '@codemirror/language';
import { EditorView } from '@codemirror/view';
import { tags as t } from '@lezer/highlight';

const layout = EditorView.theme({
  '&': { color: 'var(--code-text)', backgroundColor: 'var(--code-ground)', fontSize: '13px', height: '100%' },
  // The frame around tabs and editor shows the focus.
  '&.cm-focused': { outline: 'none' },
  '.cm-scroller': { fontFamily: 'var(--code-font)', lineHeight: '1.55' },
  '.cm-content': { caretColor: 'var(--code-caret)', paddingBlock: '8px' },
  '.cm-content ::selection, .cm-line::selection': { backgroundColor: 'var(--code-selection)' },
  '.cm-activeLine': { backgroundColor: 'var(--code-line)' },
  '.cm-gutters': { backgroundColor: 'var(--code-ground)', color: 'var(--code-quiet)', border: 'none' },
  '.cm-activeLineGutter': { backgroundColor: 'var(--code-line)', color: 'var(--code-text)' },
  '.cm-foldPlaceholder': { backgroundColor: 'var(--code-line)', color: 'var(--code-quiet)', border: 'none' },
  '.cm-matchingBracket, &.cm-focused .cm-matchingBracket': { backgroundColor: 'var(--code-match)' },
  '.cm-nonmatchingBracket, &.cm-focused .cm-nonmatchingBracket': { backgroundColor: 'var(--code-mismatch)' },
  '.cm-selectionMatch': { backgroundColor: 'var(--code-match)' },
  '.cm-searchMatch': { backgroundColor: 'var(--code-found)' },
  '.cm-searchMatch-selected': { backgroundColor: 'var(--code-found-here)' },
});

const panels = EditorView.theme({
  '.cm-panels': { backgroundColor: 'var(--code-panel)', color: 'var(--code-text)' },
  '.cm-panels-top': { borderBottom: '1px solid var(--code-border)' },
  '.cm-panel.cm-search': { padding: '6px 8px', fontFamily: 'var(--sans)', fontSize: '13px' },
  '.cm-panel.cm-search [name=close]': { color: 'inherit', fontSize: '18px', top: '4px', right: '8px' },
  '.cm-panel.cm-search input, .cm-panel.cm-search button, .cm-panel.cm-search label': { fontSize: '12.5px' },
  '.cm-textfield': {
    backgroundColor: 'var(--code-ground)',
    color: 'inherit',
    border: '1px solid var(--code-border)',
    borderRadius: '4px',
    padding: '3px 6px',
  },
  '.cm-button': {
    backgroundImage: 'none',
    backgroundColor: 'var(--code-ground)',
    color: 'inherit',
    border: '1px solid var(--code-border)',
    borderRadius: '4px',
    padding: '3px 8px',
  },
  '.cm-tooltip': {
    backgroundColor: 'var(--code-panel)',
    color: 'var(--code-text)',
    border: '1px solid var(--code-border)',
    borderRadius: '6px',
    boxShadow: '0 4px 16px rgb(0 0 0 / 18%)',
  },
  '.cm-tooltip.cm-tooltip-autocomplete > ul': { fontFamily: 'var(--code-font)', maxHeight: '16em' },
  '.cm-tooltip-autocomplete ul li[aria-selected]': { backgroundColor: 'var(--code-chosen)', color: 'var(--code-text)' },
  '.cm-completionDetail': { color: 'var(--code-quiet)', fontStyle: 'normal' },
  '.cm-diagnostic': { padding: '6px 10px', borderLeftWidth: '3px' },
  '.cm-diagnosticAction': { backgroundColor: 'var(--code-action)', color: 'var(--code-action-text)', borderRadius: '4px' },
});

const highlight = HighlightStyle.define([
  { tag: [t.keyword, t.modifier, t.operatorKeyword, t.moduleKeyword], color: 'var(--code-keyword)' },
  { tag: [t.string, t.special(t.string), t.regexp], color: 'var(--code-string)' },
  { tag: [t.number, t.bool, t.null, t.atom], color: 'var(--code-number)' },
  { tag: [t.comment], color: 'var(--code-comment)', fontStyle: 'italic' },
  { tag: [t.function(t.variableName), t.function(t.propertyName)], color: 'var(--code-function)' },
  { tag: [t.definition(t.variableName), t.definition(t.propertyName)], color: 'var(--code-definition)' },
  { tag: [t.typeName, t.className, t.namespace], color: 'var(--code-type)' },
  { tag: [t.propertyName], color: 'var(--code-property)' },
  { tag: [t.meta, t.documentMeta], color: 'var(--code-quiet)' },
  { tag: t.invalid, color: 'var(--code-invalid)' },
]);

export const theme = [layout, panels, syntaxHighlighting(highlight)];
