/** The parser of a file. Knows no editor, so that scanning needs none. */
import { javascriptLanguage, tsxLanguage, typescriptLanguage } from '@codemirror/lang-javascript';
import { pythonLanguage } from '@codemirror/lang-python';
import type { Language } from '@codemirror/language';
import { languageOf } from './paths.ts';

export function parserOf(path: string): Language | null {
  switch (languageOf(path)) {
    case 'javascript':
      return javascriptLanguage;
    case 'typescript':
      return path.endsWith('.tsx') ? tsxLanguage : typescriptLanguage;
    case 'python':
      return pythonLanguage;
    default:
      return null;
  }
}
