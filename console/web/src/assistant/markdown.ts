/** A reply's Markdown as blocks to be shown: texts, never markup. HTML is text, an image is its words and its host. Pure. */
import type { SyntaxNode } from '@lezer/common';
import { GFM, parser } from '@lezer/markdown';

export type Inline =
  | { kind: 'text'; text: string }
  | { kind: 'code'; text: string }
  | { kind: 'break' }
  | { kind: 'strong' | 'emphasis' | 'strike'; children: Inline[] }
  | { kind: 'link'; href: string; host: string; children: Inline[] };

export interface CodeBlock {
  kind: 'code';
  /** The first word of the fence's info, in lower case: `js`. */
  language: string;
  text: string;
  /** Whether its closing fence is there: until then more of it may be on its way. */
  isClosed: boolean;
}

export type Block =
  | { kind: 'paragraph'; children: Inline[] }
  | { kind: 'heading'; level: number; children: Inline[] }
  | { kind: 'list'; start: number | null; items: Block[][] }
  | { kind: 'quote'; children: Block[] }
  | { kind: 'table'; rows: Inline[][][] }
  | { kind: 'rule' }
  | CodeBlock;

/** Deeper than this is shown as it is written. */
const MAX_DEPTH = 12;
/** A text longer than this is shown as it is written: nobody reads that much, and every part of it would be an element. */
export const MAX_CHARACTERS = 256 * 1024;

const markdown = parser.configure(GFM);

export function parseMarkdown(text: string): Block[] {
  if (text.length > MAX_CHARACTERS) return [{ kind: 'paragraph', children: [{ kind: 'text', text }] }];
  const lines = text.replace(/\r\n?/g, '\n');
  return new Reader(lines).blocks(markdown.parse(lines).topNode, 0);
}

/** Nodes that are punctuation, or say nothing where they stand. */
const SILENT = /Mark$|^(TableDelimiter|LinkTitle|LinkLabel|LinkReference)$/;

class Reader {
  constructor(private readonly text: string) {}

  blocks(parent: SyntaxNode, depth: number): Block[] {
    return childrenOf(parent).flatMap((node) => this.block(node, depth));
  }

  private block(node: SyntaxNode, depth: number): Block[] {
    if (depth > MAX_DEPTH) return [this.asWritten(node)];
    const heading = /^(?:ATX|Setext)Heading(\d)$/.exec(node.name);
    if (heading) return [{ kind: 'heading', level: Number(heading[1]), children: this.inlines(node, 0) }];
    switch (node.name) {
      case 'FencedCode':
      case 'CodeBlock':
        return [this.code(node)];
      case 'BulletList':
      case 'OrderedList':
        return [this.list(node, depth)];
      case 'Blockquote':
        return [{ kind: 'quote', children: this.blocks(node, depth + 1) }];
      case 'Table':
        return [this.table(node)];
      case 'HorizontalRule':
        return [{ kind: 'rule' }];
      case 'Paragraph':
      case 'Task':
        return [{ kind: 'paragraph', children: this.inlines(node, 0) }];
      default:
        return SILENT.test(node.name) ? [] : [this.asWritten(node)];
    }
  }

  private asWritten(node: SyntaxNode): Block {
    return { kind: 'paragraph', children: [{ kind: 'text', text: this.slice(node) }] };
  }

  private code(node: SyntaxNode): CodeBlock {
    const info = node.getChild('CodeInfo');
    const text = node.getChildren('CodeText').map((part) => this.slice(part)).join('');
    const isClosed = node.name === 'CodeBlock' || node.getChildren('CodeMark').length > 1;
    return {
      kind: 'code',
      language: info ? (/^[^\s{,:]*/.exec(this.slice(info))?.[0] ?? '').toLowerCase() : '',
      // The end of the last line is the closing fence's in the tree, and the code's in what it means.
      text: isClosed && text !== '' ? `${text}\n` : text,
      isClosed,
    };
  }

  private list(node: SyntaxNode, depth: number): Block {
    const mark = node.getChild('ListItem')?.getChild('ListMark');
    const items = node.getChildren('ListItem').map((item) => this.blocks(item, depth + 1));
    return { kind: 'list', start: node.name === 'OrderedList' && mark ? Number.parseInt(this.slice(mark), 10) : null, items };
  }

  private table(node: SyntaxNode): Block {
    const rows = childrenOf(node).filter(({ name }) => name === 'TableHeader' || name === 'TableRow');
    return { kind: 'table', rows: rows.map((row) => row.getChildren('TableCell').map((cell) => this.inlines(cell, 0))) };
  }

  /** What a node says: the text between its children, and the children. */
  private inlines(node: SyntaxNode, depth: number, from = node.from, to = node.to): Inline[] {
    const all: Inline[] = [];
    let at = from;
    for (const child of childrenOf(node).filter((one) => one.from >= from && one.to <= to)) {
      all.push(...this.words(at, child.from), ...this.inline(child, depth));
      at = child.to;
    }
    all.push(...this.words(at, to));
    return trimmed(all);
  }

  private words(from: number, to: number): Inline[] {
    return to > from ? [{ kind: 'text', text: this.text.slice(from, to) }] : [];
  }

  private inline(node: SyntaxNode, depth: number): Inline[] {
    if (depth > MAX_DEPTH) return this.words(node.from, node.to);
    switch (node.name) {
      case 'StrongEmphasis':
        return [{ kind: 'strong', children: this.inlines(node, depth + 1) }];
      case 'Emphasis':
        return [{ kind: 'emphasis', children: this.inlines(node, depth + 1) }];
      case 'Strikethrough':
        return [{ kind: 'strike', children: this.inlines(node, depth + 1) }];
      case 'InlineCode':
        return [{ kind: 'code', text: this.between(node).replace(/\n/g, ' ') }];
      case 'HardBreak':
        return [{ kind: 'break' }];
      case 'Escape':
        return this.words(node.from + 1, node.to);
      case 'Entity':
        return [{ kind: 'text', text: decodedEntity(this.slice(node)) }];
      case 'Link':
        return this.link(node, depth);
      case 'Image':
        return this.image(node);
      case 'Autolink':
      case 'URL':
        return linkTo(this.slice(node).replace(/^<|>$/g, ''));
      case 'TaskMarker':
        return [{ kind: 'text', text: /x/i.test(this.slice(node)) ? '☑' : '☐' }];
      default:
        return SILENT.test(node.name) ? [] : this.words(node.from, node.to);
    }
  }

  private link(node: SyntaxNode, depth: number): Inline[] {
    const { close, url } = partsOf(node);
    const children = withoutLinks(this.inlines(node, depth + 1, node.from + 1, close?.from ?? node.to));
    const target = url && safeUrl(this.slice(url));
    // A reference, or an address that nobody should follow: the words alone.
    return target ? [{ kind: 'link', href: target.href, host: target.host, children }] : [...children, ...this.refused(url)];
  }

  private refused(url: SyntaxNode | null): Inline[] {
    return url ? [{ kind: 'text', text: ` (${this.slice(url)})` }] : [];
  }

  /** An image would be a request to its host: whoever wrote the reply could learn of it, and put words into it. */
  private image(node: SyntaxNode): Inline[] {
    const { open, close, url } = partsOf(node);
    const words = this.text.slice(open?.to ?? node.from, close?.from ?? node.to);
    const host = url && safeUrl(this.slice(url))?.host;
    return [{ kind: 'text', text: `[image: ${[words, host].filter(Boolean).join(', ')}]` }];
  }

  private between(node: SyntaxNode): string {
    const marks = node.getChildren('CodeMark');
    return this.text.slice(marks[0]?.to ?? node.from, marks.at(-1)?.from ?? node.to);
  }

  private slice({ from, to }: SyntaxNode): string {
    return this.text.slice(from, to);
  }
}

/** The address of a link stands behind its words, which may have another one in them. */
function partsOf(link: SyntaxNode): { open?: SyntaxNode; close?: SyntaxNode; url: SyntaxNode | null } {
  const [open, close] = link.getChildren('LinkMark');
  const url = link.getChildren('URL').find(({ from }) => close && from >= close.to) ?? null;
  return { ...(open && { open }), ...(close && { close }), url };
}

function childrenOf(node: SyntaxNode): SyntaxNode[] {
  const all: SyntaxNode[] = [];
  for (let child = node.firstChild; child; child = child.nextSibling) all.push(child);
  return all;
}

/** Without the space that stood between a mark and the words: `# Title`. */
function trimmed(all: Inline[]): Inline[] {
  const first = all[0];
  if (first?.kind === 'text') first.text = first.text.trimStart();
  return all.filter((one) => one.kind !== 'text' || one.text !== '');
}

/** A link has no other one in it: its words may look like an address and lead elsewhere. */
function withoutLinks(all: Inline[]): Inline[] {
  return all.flatMap((one) => ('children' in one ? (one.kind === 'link' ? withoutLinks(one.children) : [{ ...one, children: withoutLinks(one.children) }]) : [one]));
}

function linkTo(text: string): Inline[] {
  const target = safeUrl(text);
  const words: Inline = { kind: 'text', text };
  return target ? [{ kind: 'link', href: target.href, host: target.host, children: [words] }] : [words];
}

function safeUrl(text: string): URL | null {
  if (!/^https?:\/\//i.test(text) || !URL.canParse(text)) return null;
  return new URL(text);
}

const ENTITIES: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\u00a0' };

/** The entities that a text without markup needs; any other is shown as it is written. */
function decodedEntity(entity: string): string {
  const number = /^&#(?:x([\da-f]+)|(\d+));$/i.exec(entity);
  if (!number) return ENTITIES[entity.slice(1, -1)] ?? entity;
  const code = number[1] ? Number.parseInt(number[1], 16) : Number(number[2]);
  const isCharacter = code > 0 && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
  return isCharacter ? String.fromCodePoint(code) : '\ufffd';
}
