/** The parser of a file, loaded when one of its language is opened. Knows no editor, so that scanning needs none. */
import type { Language } from '@codemirror/language';
import { languageOf } from './paths.ts';

export async function languageFor(path: string): Promise<Language | null> {
  switch (languageOf(path)) {
    case 'javascript':
      return (await import('./javascript.ts')).javascript;
    case 'typescript': {
      const { tsx, typescript } = await import('./javascript.ts');
      return path.endsWith('.tsx') ? tsx : typescript;
    }
    case 'python':
      return (await import('./python.ts')).python;
    default:
      return null;
  }
}
