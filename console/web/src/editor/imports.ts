/** What a syntax tree imports. Strings and comments that look like an import are none in a tree. */
import type { SyntaxNode, Tree } from '@lezer/common';
import { languageFor } from './language.ts';
import { languageOf } from './paths.ts';

/** An import as it is written, and where. */
export interface Import {
  module: string;
  from: number;
  to: number;
}

/** All imports of a file, in their order; none of a file in a language that nobody knows here. */
export async function importsOf(path: string, text: string): Promise<Import[]> {
  const parser = (await languageFor(path))?.parser;
  return parser ? importsOfTree(path, parser.parse(text), text) : [];
}

export function importsOfTree(path: string, tree: Tree, text: string): Import[] {
  const of = languageOf(path) === 'python' ? pythonImports : nodeImports;
  const found: Import[] = [];
  tree.iterate({ enter: ({ node }) => void found.push(...of(node, text)) });
  return found;
}

function nodeImports(node: SyntaxNode, text: string): Import[] {
  switch (node.name) {
    case 'ImportDeclaration':
    case 'ExportDeclaration':
      // The types of `import type` are gone when the code runs.
      return node.getChild('type') ? [] : literal(node.getChild('String'), text);
    case 'DynamicImport':
      return literal(node.getChild('String') ?? node.getChild('TemplateString'), text);
    case 'CallExpression':
      return isRequire(node, text) ? literal(firstArgument(node), text) : [];
    default:
      return [];
  }
}

function isRequire(call: SyntaxNode, text: string): boolean {
  const callee = call.firstChild;
  if (!callee) return false;
  return /^(module\.)?require(\.resolve)?$/.test(text.slice(callee.from, callee.to).replace(/\s/g, ''));
}

function firstArgument(call: SyntaxNode): SyntaxNode | null {
  return call.getChild('ArgList')?.firstChild?.nextSibling ?? null;
}

/** The value of a string without escapes or substitutions, as every name of a module is written. */
function literal(node: SyntaxNode | null, text: string): Import[] {
  if (node?.name !== 'String' && node?.name !== 'TemplateString') return [];
  const written = text.slice(node.from, node.to);
  const value = /^[rR]?(['"`])([^\\$]*)\1$/.exec(written)?.[2];
  return value ? [{ module: value, from: node.from, to: node.to }] : [];
}

function pythonImports(node: SyntaxNode, text: string): Import[] {
  if (node.name === 'CallExpression') {
    const callee = node.firstChild ? text.slice(node.firstChild.from, node.firstChild.to) : '';
    const isImport = /^(__import__|(importlib\.)?import_module)$/.test(callee);
    return isImport ? literal(firstArgument(node), text).filter(({ module }) => !module.startsWith('.')) : [];
  }
  if (node.name !== 'ImportStatement') return [];
  return node.firstChild?.name === 'from' ? fromImport(node, text) : plainImport(node, text);
}

/** `from a.b import c`; one that begins with a dot is of the function's own folder. */
function fromImport(node: SyntaxNode, text: string): Import[] {
  const first = node.firstChild?.nextSibling;
  const end = node.getChild('import');
  if (first?.name !== 'VariableName' || !end) return [];
  const module = text.slice(first.from, end.from).replace(/\s|\\/g, '');
  // The name may be the part of a shared module that decides which package is meant: `from google.cloud import storage`.
  const name = end.nextSibling?.name === 'VariableName' ? end.nextSibling : end.nextSibling?.nextSibling;
  const tail = name?.name === 'VariableName' ? `.${text.slice(name.from, name.to)}` : '';
  return [{ module: module + tail, from: first.from, to: end.from }];
}

/** `import a.b as c, d`. */
function plainImport(node: SyntaxNode, text: string): Import[] {
  const found: Import[] = [];
  let start: SyntaxNode | null = null;
  let last: SyntaxNode | null = null;
  const close = () => {
    if (start && last) {
      found.push({ module: text.slice(start.from, last.to).replace(/\s|\\/g, ''), from: start.from, to: last.to });
    }
    start = last = null;
  };
  let isAlias = false;
  for (let child = node.firstChild?.nextSibling ?? null; child; child = child.nextSibling) {
    if (child.name === ',') {
      close();
      isAlias = false;
    } else if (child.name === 'as') {
      isAlias = true;
    } else if (child.name === 'VariableName' && !isAlias) {
      start ??= child;
      last = child;
    }
  }
  close();
  return found;
}
