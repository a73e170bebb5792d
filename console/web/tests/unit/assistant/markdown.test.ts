import { describe, expect, test } from 'vitest';
import { MAX_CHARACTERS, parseMarkdown, type Block, type Inline } from '../../../src/assistant/markdown';

const text = (words: string): Inline => ({ kind: 'text', text: words });
const paragraph = (...children: Inline[]): Block => ({ kind: 'paragraph', children });
const code = (language: string, words: string, isClosed = true): Block => ({ kind: 'code', language, text: words, isClosed });

describe('words', () => {
  test.each<[string, string, Block[]]>([
    ['nothing', '', []],
    ['a paragraph', 'Hello.\nAgain.', [paragraph(text('Hello.\nAgain.'))]],
    ['a heading', '## Title', [{ kind: 'heading', level: 2, children: [text('Title')] }]],
    ['emphasis', '**a** *b* ~~c~~ `d`', [
      paragraph(
        { kind: 'strong', children: [text('a')] }, text(' '),
        { kind: 'emphasis', children: [text('b')] }, text(' '),
        { kind: 'strike', children: [text('c')] }, text(' '),
        { kind: 'code', text: 'd' },
      ),
    ]],
    ['entities and escapes', '&lt;b&gt; &#65; &#x42; &copy; \\*', [
      paragraph(text('<'), text('b'), text('>'), text(' '), text('A'), text(' '), text('B'), text(' '), text('&copy;'), text(' '), text('*')),
    ]],
    ['an entity that is no character', '&#xD800;', [paragraph(text('\ufffd'))]],
    ['a list', '2. a\n3. b', [{ kind: 'list', start: 2, items: [[paragraph(text('a'))], [paragraph(text('b'))]] }]],
    ['tasks', '- [x] done\n- [ ] open', [
      { kind: 'list', start: null, items: [[paragraph(text('☑'), text(' done'))], [paragraph(text('☐'), text(' open'))]] },
    ]],
    ['a quote', '> a', [{ kind: 'quote', children: [paragraph(text('a'))] }]],
    ['a table', '| a | b |\n|---|---|\n| 1 | `2` |', [
      { kind: 'table', rows: [[[text('a')], [text('b')]], [[text('1')], [{ kind: 'code', text: '2' }]]] },
    ]],
    ['a rule', 'a\n\n---\n', [paragraph(text('a')), { kind: 'rule' }]],
  ])('%s', (_, markdown, expected) => expect(parseMarkdown(markdown)).toEqual(expected));
});

describe('what a model must not be able to do', () => {
  const all = (markdown: string): string => JSON.stringify(parseMarkdown(markdown));
  const links = (markdown: string): string[] => [...all(markdown).matchAll(/"href":"([^"]*)"/g)].map((match) => match[1] ?? '');

  test.each([
    '<script>alert(1)</script>', 'a <img src=x onerror=alert(1)> b', '<svg/onload=alert(1)>', '<!-- a -->', '<a href="javascript:alert(1)">x</a>',
    '<iframe src="https://evil.example">',
  ])('HTML is text: %s', (markdown) => {
    expect(parseMarkdown(markdown).map((block) => block.kind)).toEqual(['paragraph']);
    const words = JSON.parse(all(markdown))[0].children.map((part: Inline) => ('text' in part ? part.text : '')).join('');
    expect(words).toBe(markdown);
    expect(links(markdown)).toEqual([]);
  });

  test.each([
    'javascript:alert(1)', 'JaVaScRiPt:alert(1)', 'data:text/html,x', 'vbscript:x', 'file:///etc/passwd', '/ns/a/b', '//evil.example', 'mailto:a@b.c', 'http://', 'blob:x',
    'https&#58;//x',
  ])('no link to %s', (target) => {
    expect(links(`[click](${target}) <${target}>`)).toEqual([]);
    expect(all(`[click](${target})`)).toContain('click');
  });

  test('a link has its host, whatever its words say', () => {
    expect(parseMarkdown('[https://good.example](https://evil.example/x)')).toEqual([
      paragraph({ kind: 'link', href: 'https://evil.example/x', host: 'evil.example', children: [text('https://good.example')] }),
    ]);
    expect(links('<https://a.example/b> https://c.example www.d.example')).toEqual(['https://a.example/b', 'https://c.example/']);
    expect(links('[x](https://user:pass@evil.example:8080/)')).toEqual(['https://user:pass@evil.example:8080/']);
  });

  test('an image is its words and its host', () => {
    expect(parseMarkdown('![a cat](https://evil.example/?q=secret)')).toEqual([paragraph(text('[image: a cat, evil.example]'))]);
    expect(parseMarkdown('![](data:image/png;base64,x)')).toEqual([paragraph(text('[image: ]'))]);
    expect(all('[![x](https://evil.example/y)](https://other.example)')).not.toContain('evil.example/y');
  });

  test('depth and length have a bound', () => {
    expect(() => parseMarkdown('>'.repeat(5000) + ' a')).not.toThrow();
    expect(() => parseMarkdown('*a '.repeat(3000))).not.toThrow();
    const long = 'x'.repeat(MAX_CHARACTERS + 1);
    expect(parseMarkdown(`**${long}**`)).toEqual([paragraph(text(`**${long}**`))]);
  });
});

// The same as in `reply.rs`: both sides find the same blocks.
describe('blocks of code', () => {
  const blocks = (markdown: string): Block[] => {
    const found: Block[] = [];
    const visit = (all: Block[]): void => {
      for (const block of all) {
        if (block.kind === 'code') found.push(block);
        if (block.kind === 'quote') visit(block.children);
        if (block.kind === 'list') block.items.forEach(visit);
      }
    };
    visit(parseMarkdown(markdown));
    return found;
  };

  test.each<[string, Block[]]>([
    ['no code', []],
    ['a\n\n```js\nx\n```\n\nb', [code('js', 'x\n')]],
    ['```js\r\nx\r\n\r\ny\r\n```\r\n', [code('js', 'x\n\ny\n')]],
    ['```Python title="a"\nx\n```', [code('python', 'x\n')]],
    ['```js,ignore\n```\n~~~\ny\n~~~', [code('js', ''), code('', 'y\n')]],
    ['`inline` and ``` x ```', []],
    ['````md\n```js\nx\n```\n````\n', [code('md', '```js\nx\n```\n')]],
    ['~~~py\n```\nx\n~~~', [code('py', '```\nx\n')]],
    ['```py\n~~~\n```', [code('py', '~~~\n')]],
    ['```js\nx\n``` js\n```', [code('js', 'x\n``` js\n')]],
    ['```js\nx\n`````   \n', [code('js', 'x\n')]],
    ['1. a\n\n   ```py\n   def f():\n       x\n   ```\n', [code('py', 'def f():\n    x\n')]],
    ['- a\n  - b\n    ```py\n    x\n    ```\n', [code('py', 'x\n')]],
    ['> ```py\n> x\n> ```\n', [code('py', 'x\n')]],
  ])('%j', (markdown, expected) => expect(blocks(markdown)).toEqual(expected));

  test.each(['```', '````js\nx\n```\n', '> ```js\n> x\n\nafter', '- ```js\n  x\n\nafter'])('one without an end is open: %j', (markdown) =>
    expect(blocks(markdown)).toMatchObject([{ isClosed: false }]));

  test('one that is cut anywhere is open', () => {
    const whole = 'text\n\n```js\nconst a = `x`\nconst b = 1\n```';
    for (let end = 0; end < whole.length; end += 1) {
      for (const block of blocks(whole.slice(0, end))) expect(block, String(end)).toMatchObject({ isClosed: false });
    }
    expect(blocks(whole)).toEqual([code('js', 'const a = `x`\nconst b = 1\n')]);
  });
});
