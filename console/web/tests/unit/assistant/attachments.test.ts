import { describe, expect, test } from 'vitest';
import { kilobytes, MAX_FILE_BYTES, MAX_FILES, MAX_TOTAL_BYTES, take, type Attachment } from '../../../src/assistant/attachments';

const file = (name: string, content: string | Uint8Array<ArrayBuffer> = 'x'): File => new File([content], name);
const sized = (size: number): Attachment => ({ name: 'a.txt', size, text: '' });

async function why(added: File, attached: Attachment[] = []): Promise<string | null> {
  const { taken, refused } = await take([added], attached);
  expect(taken.length + refused.length).toBe(1);
  return refused[0]?.why ?? null;
}

describe('by name', () => {
  test.each([
    'Main.java', 'pom.xml', 'a.kt', 'build.gradle', 'a.go', 'go.mod', 'a.PY', 'a.ts', 'a.tsx', 'a.yaml', 'a.yml', 'a.json', 'a.sql', 'a.sh', 'Dockerfile',
    'dockerfile.dev', 'README.md', 'a.txt', 'requirements.txt', 'env.js',
  ])('%s is taken', async (name) => expect(await why(file(name))).toBeNull());

  test.each(['a.png', 'a.pdf', 'a.zip', 'a.class', 'a', '.gitignore', 'a.exe', 'a.'])('%s is no source', async (name) =>
    expect(await why(file(name))).toBe('only source code and other text can be attached'));

  test.each(['.env', '.env.local', '.env.js', 'prod.env', 'tls.pem', 'tls.key', 'a.p12', 'id_rsa', 'ID_ED25519', '.npmrc', 'credentials.json', 'kubeconfig'])(
    '%s holds secrets',
    async (name) => expect(await why(file(name))).toBe('files of this kind hold secrets'),
  );
});

describe('by content', () => {
  const png = Uint8Array.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13]);
  const utf16 = Uint8Array.from([0xff, 0xfe, ...[...'module'].flatMap((character) => [character.charCodeAt(0), 0])]);
  test.each<[string, Uint8Array<ArrayBuffer>]>([
    ['a PNG called .js', png],
    ['UTF-16', utf16],
    ['Latin-1', Uint8Array.from([0x61, 0xe9, 0x62])],
    ['a NUL', Uint8Array.from([0x61, 0, 0x62])],
    ['half a letter', Uint8Array.from([0x61, 0xc3])],
    ['a surrogate', Uint8Array.from([0xed, 0xa0, 0x80])],
  ])('%s is no text', async (_, bytes) => expect(await why(file('a.js', bytes))).toBe('it is not text in UTF-8'));

  test('text of any language is, a byte order mark does not matter', async () => {
    expect(await why(file('a.js', 'ключ 鍵 🔑'))).toBeNull();
    const { taken } = await take([file('a.js', Uint8Array.from([0xef, 0xbb, 0xbf, 0x61]))], []);
    expect(taken[0]).toMatchObject({ text: 'a', size: 4 });
  });

  test.each(['-----BEGIN PRIVATE KEY-----', '-----BEGIN RSA PRIVATE KEY-----', '-----BEGIN OPENSSH PRIVATE KEY-----', '-----BEGIN PGP PRIVATE KEY BLOCK-----'])(
    '%s',
    async (line) => expect(await why(file('a.txt', `a\n${line}\nMII\n`))).toBe('it has a private key in it'),
  );

  test('a public one is fine', async () => expect(await why(file('a.txt', '-----BEGIN PUBLIC KEY-----\nMII'))).toBeNull());
});

describe('limits: exactly at each is allowed, one more is not', () => {
  test('of a file', async () => {
    expect(await why(file('a.txt', 'x'.repeat(MAX_FILE_BYTES)))).toBeNull();
    expect(await why(file('a.txt', 'x'.repeat(MAX_FILE_BYTES + 1)))).toBe('it has 256.1 KiB, and a file may have 256 KiB');
  });

  test('in bytes, not in characters', async () => {
    expect(await why(file('a.txt', 'é'.repeat(MAX_FILE_BYTES / 2)))).toBeNull();
    expect(await why(file('a.txt', `é${'é'.repeat(MAX_FILE_BYTES / 2)}`))).not.toBeNull();
  });

  test('of a message', async () => {
    const attached = [sized(MAX_TOTAL_BYTES - 10)];
    expect(await why(file('a.txt', 'x'.repeat(10)), attached)).toBeNull();
    expect(await why(file('a.txt', 'x'.repeat(11)), attached)).toBe('the files of a message may have 1 MiB together');
  });

  test('of their number', async () => {
    const attached = Array.from({ length: MAX_FILES - 1 }, () => sized(1));
    expect(await why(file('a.txt'), attached)).toBeNull();
    expect(await why(file('a.txt'), [...attached, sized(1)])).toBe('a message may have 20 files');
  });
});

test('what fits is taken, and each that does not is named', async () => {
  const { taken, refused } = await take([file('a.js'), file('a.png'), file('b.js'), file('.env')], []);
  expect(taken.map(({ name }) => name)).toEqual(['a.js', 'b.js']);
  expect(refused.map(({ name }) => name)).toEqual(['a.png', '.env']);
});

test('sizes in words', () => {
  expect([0, 1, 1024, 1025, 1536, 262144, 1048576].map(kilobytes)).toEqual(['0 KiB', '0.1 KiB', '1 KiB', '1.1 KiB', '1.6 KiB', '256 KiB', '1 MiB']);
});
