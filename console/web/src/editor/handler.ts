/** Whether code has a handler, found as the runtimes look for it. */
import type { SyntaxNode, Tree } from '@lezer/common';
import { languageOf } from './paths.ts';

const NODE_NAMES = ['default', 'handler'];
const PYTHON_NAMES = ['handler', 'handle', 'main'];

/** What to tell where there is none, else null. `wanted` is `source.handler`, the name of another one. */
export function handlerProblem(path: string, tree: Tree, text: string, wanted: string | undefined): string | null {
  if (text.trim() === '') return 'There is no code yet.';
  const isPython = languageOf(path) === 'python';
  const found = isPython ? pythonNames(tree, text) : nodeNames(tree, text);
  if (found.has('*')) return null;
  const names = wanted ? [wanted] : isPython ? PYTHON_NAMES : NODE_NAMES;
  if (names.some((name) => found.has(name))) return null;
  if (wanted) return `No handler: nothing called “${wanted}” is ${isPython ? 'defined' : 'exported'}.`;
  return isPython
    ? 'No handler: define “def handler(event, context)”.'
    : 'No handler: expected “module.exports = async (event, context) => …” or “export default”.';
}

/** Names that are exported; `*` where that cannot be told from the text alone. */
function nodeNames(tree: Tree, text: string): Set<string> {
  const names = new Set<string>();
  tree.iterate({
    enter: ({ node }) => {
      if (node.name === 'AssignmentExpression') assigned(node, text, names);
      if (node.name === 'ExportDeclaration') exported(node, text, names);
      if (node.name === 'CallExpression' && /^Object\.(assign|defineProperty)/.test(text.slice(node.from, node.to))) {
        if (/\(\s*(module\.)?exports\b/.test(text.slice(node.from, node.to))) names.add('*');
      }
    },
  });
  return names;
}

function assigned(node: SyntaxNode, text: string, names: Set<string>) {
  const target = node.firstChild;
  const value = node.lastChild;
  if (!target || !value) return;
  const written = text.slice(target.from, target.to).replace(/\s/g, '');
  if (written === 'module.exports' || written === 'exports') {
    if (value.name === 'ObjectExpression') properties(value, text, names);
    else if (written === 'module.exports') names.add('*');
    return;
  }
  const name = /^(?:module\.)?exports(?:\.([\w$]+)|\[["']([\w$]+)["']\])$/.exec(written);
  if (name) names.add(name[1] ?? name[2] ?? '*');
}

function properties(object: SyntaxNode, text: string, names: Set<string>) {
  for (let child = object.firstChild; child; child = child.nextSibling) {
    if (child.name !== 'Property') continue;
    if (child.getChild('Spread')) names.add('*');
    const key = child.getChild('PropertyDefinition') ?? child.getChild('String');
    if (key) names.add(text.slice(key.from, key.to).replace(/["']/g, ''));
  }
}

function exported(node: SyntaxNode, text: string, names: Set<string>) {
  if (node.getChild('default')) names.add('default');
  if (node.getChild('Star')) names.add('*');
  const group = node.getChild('ExportGroup');
  for (let child = group?.firstChild ?? null; child; child = child.nextSibling) {
    if (child.name !== 'VariableName' && child.name !== 'default') continue;
    if (child.nextSibling?.name !== 'as') names.add(text.slice(child.from, child.to));
  }
  for (const kind of ['FunctionDeclaration', 'ClassDeclaration', 'VariableDeclaration']) {
    for (const name of node.getChild(kind)?.getChildren('VariableDefinition') ?? []) names.add(text.slice(name.from, name.to));
  }
}

/** Names of the module's own level, also within `if` and `try`. */
function pythonNames(tree: Tree, text: string): Set<string> {
  const names = new Set<string>();
  tree.iterate({
    enter: ({ node }) => {
      if (node.name === 'FunctionDefinition' || node.name === 'ClassDefinition') {
        const name = node.getChild('VariableName');
        if (name) names.add(text.slice(name.from, name.to));
        return false;
      }
      if (node.name === 'AssignStatement') targets(node, text, names);
      if (node.name === 'ImportStatement') imported(node, text, names);
      return;
    },
  });
  return names;
}

/** `a = handler = …` and `handler: Handler = …`. */
function targets(node: SyntaxNode, text: string, names: Set<string>) {
  const last = node.getChildren('AssignOp').at(-1);
  for (const name of node.getChildren('VariableName')) {
    if (last && name.to <= last.from) names.add(text.slice(name.from, name.to));
  }
}

function imported(node: SyntaxNode, text: string, names: Set<string>) {
  const start = node.getChild('import');
  for (let child = start?.nextSibling ?? null; child; child = child.nextSibling) {
    if (child.name === '*') names.add('*');
    if (child.name === 'VariableName' && child.nextSibling?.name !== 'as') names.add(text.slice(child.from, child.to));
  }
}
