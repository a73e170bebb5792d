/** A function's source as files, one or several, and the spec that stands for them. Pure. */
import type { Source } from '../api/types.ts';
import { entryOf, nameOfCode, type Runtime } from './paths.ts';

export type Files = Record<string, string>;

export function filesOf(source: Source | undefined, runtime: Runtime): Files {
  return source?.files ?? { [nameOfCode(runtime)]: source?.code ?? '' };
}

/** The handler's file; a single text is always that. */
export function entryFile(source: Source | undefined, runtime: Runtime): string | null {
  return source?.files ? entryOf(runtime, source.files) : nameOfCode(runtime);
}

/** The handler's file first, then by name. */
export function tabsOf(files: Files, entry: string | null): string[] {
  return Object.keys(files).sort((a, b) => Number(b === entry) - Number(a === entry) || (a < b ? -1 : 1));
}

/** Why a file cannot be called so, else null. `former` is the name that it has now. */
export function nameProblem(name: string, files: Files, former?: string): string | null {
  if (name === '') return 'Give the file a name.';
  if (name === former) return null;
  if (name.length > 253) return 'A path has at most 253 characters.';
  if (name.startsWith('/') || name.endsWith('/')) return 'A path is relative to the function’s folder and names a file.';
  if (name.split('/').some((part) => part === '' || part === '.' || part === '..')) return 'A path has no empty, “.” or “..” parts.';
  if (/[\u0000-\u001f\u007f\\]/.test(name)) return 'A path has no backslashes or control characters.';
  if (name in files) return `There is a file ${name} already.`;
  const other = Object.keys(files).find((path) => path.startsWith(`${name}/`) || name.startsWith(`${path}/`));
  return other && other !== former ? `${other} stands in the way.` : null;
}

/** Packages that a manifest among the files declares; null where there is none, and the form's table counts. */
export function declaredIn(files: Files, runtime: Runtime): string[] | null {
  if (runtime === 'python') {
    const text = files['requirements.txt'];
    if (text === undefined) return null;
    return [...text.matchAll(/^\s*([A-Za-z0-9][\w.-]*)/gm)].map((match) => match[1] ?? '');
  }
  const text = files['package.json'];
  if (text === undefined) return null;
  try {
    const manifest = JSON.parse(text) as Record<string, unknown>;
    return ['dependencies', 'optionalDependencies'].flatMap((key) => Object.keys((manifest[key] as object | undefined) ?? {}));
  } catch {
    return [];
  }
}
