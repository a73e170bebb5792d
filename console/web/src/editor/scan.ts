/** Which packages a function's code needs: what Scan code fills in and what the editor warns about. Loaded when needed. */
import { importsOf, type Import } from './imports.ts';
import { languageOf, type Runtime } from './paths.ts';
import { isSamePackage, packageOf } from './packages.ts';

/** A package that the code imports. */
export interface Found {
  /** As it is installed: `PyYAML`. */
  name: string;
  /** As it is imported: `yaml`. */
  module: string;
  /** The file where it was seen first. */
  path: string;
}

/** The packages that a function's files import and that are not installed, each once, by name. */
export async function scan(
  runtime: Runtime,
  files: Record<string, string>,
  installed: string[] = [],
): Promise<Found[]> {
  const found = new Map<string, Found>();
  for (const path of Object.keys(files).sort()) {
    if (!isCodeOf(runtime, path)) continue;
    for (const { module } of await importsOf(path, files[path] ?? '')) {
      const name = foreign(runtime, module, files);
      if (name === null || installed.some((other) => isSamePackage(runtime, other, name))) continue;
      if (!found.has(name)) found.set(name, { name, module: topOf(runtime, module), path });
    }
  }
  return [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The imports of one file whose package is not among `installed`. */
export function missing(runtime: Runtime, imports: Import[], files: Record<string, string>, installed: string[]) {
  return imports.flatMap((at) => {
    const name = foreign(runtime, at.module, files);
    if (name === null || installed.some((other) => isSamePackage(runtime, other, name))) return [];
    return [{ ...at, name }];
  });
}

/** `yaml` of `yaml.loader`; Node's subpaths are left as they are written. */
function topOf(runtime: Runtime, module: string): string {
  return runtime === 'python' ? (module.split('.')[0] ?? module) : module;
}

function isCodeOf(runtime: Runtime, path: string): boolean {
  const language = languageOf(path);
  return language !== null && (language === 'python') === (runtime === 'python');
}

/** The package of an import that the function's own files do not answer. */
function foreign(runtime: Runtime, module: string, files: Record<string, string>): string | null {
  if (runtime === 'python') {
    const [top] = module.split('.');
    const isOwn = Object.keys(files).some((path) => path === `${top}.py` || path.startsWith(`${top}/`));
    if (isOwn) return null;
  }
  return packageOf(runtime, module);
}
