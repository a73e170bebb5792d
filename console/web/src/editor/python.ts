/** The parser of Python, a chunk of its own: a Node function does without. */
export { pythonLanguage as python } from '@codemirror/lang-python';
