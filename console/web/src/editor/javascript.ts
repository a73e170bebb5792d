/** The parsers of JavaScript and TypeScript, a chunk of their own: a Python function does without. */
export { javascriptLanguage as javascript, tsxLanguage as tsx, typescriptLanguage as typescript } from '@codemirror/lang-javascript';
