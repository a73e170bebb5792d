/** What a file is, by its name. Pure and small: the page needs it before the editor is there. */
import type { Runtime } from '../api/types.ts';

export type { Runtime };
export type LanguageName = 'javascript' | 'typescript' | 'python';

/** The name under which `source.code`, which has none, is shown and parsed. */
export function nameOfCode(runtime: Runtime): string {
  return runtime === 'python' ? 'handler.py' : 'index.js';
}

export function languageOf(path: string): LanguageName | null {
  if (/\.[mc]?ts$|\.tsx$/.test(path)) return 'typescript';
  if (/\.[mc]?js$|\.jsx$/.test(path)) return 'javascript';
  return path.endsWith('.py') ? 'python' : null;
}

const NODE_ENTRIES = ['index.js', 'index.mjs', 'index.cjs', 'index.ts', 'index.mts', 'index.cts'];

/** The file among these that holds the handler, as the runtimes look for it. */
export function entryOf(runtime: Runtime, files: Record<string, string>): string | null {
  if (runtime === 'python') return 'handler.py' in files ? 'handler.py' : null;
  const candidates = [mainOf(files['package.json']), ...NODE_ENTRIES];
  return candidates.find((name): name is string => name !== null && name in files) ?? null;
}

function mainOf(manifest: string | undefined): string | null {
  if (manifest === undefined) return null;
  try {
    const { main } = JSON.parse(manifest) as { main?: unknown };
    return typeof main === 'string' ? main.replace(/^\.\//, '') : null;
  } catch {
    return null;
  }
}
