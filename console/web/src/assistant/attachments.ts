/** Which files may go with a message. The server has the same rules; here they are said before anything is sent. Pure. */

export interface Attachment {
  name: string;
  /** In bytes. */
  size: number;
  /** Null where only the name was kept: a message from before the page was loaded. */
  text: string | null;
}

export const MAX_FILE_BYTES = 256 * 1024;
export const MAX_TOTAL_BYTES = 1024 * 1024;
export const MAX_FILES = 20;

/** What a text file may end with. */
export const EXTENSIONS: ReadonlySet<string> = new Set(
  (
    'java kt kts go mod sum py pyi js mjs cjs jsx ts mts cts tsx yaml yml xml json jsonl sql sh bash zsh md markdown txt ' +
    'text log csv toml properties gradle ini cfg conf html css proto graphql dockerfile'
  ).split(' '),
);
/** Names of text files that have no such ending. */
export const NAMES: ReadonlySet<string> = new Set(['dockerfile', 'containerfile', 'makefile', 'pipfile']);
/** Endings and names of files that are made to hold keys and passwords. */
export const KEY_EXTENSIONS: ReadonlySet<string> = new Set('env pem key p12 pfx jks keystore ppk kdbx gpg'.split(' '));
export const KEY_NAMES: ReadonlySet<string> = new Set(
  'id_rsa id_dsa id_ecdsa id_ed25519 credentials credentials.json kubeconfig .netrc .npmrc .pypirc .htpasswd'.split(' '),
);
const PRIVATE_KEY = /-----BEGIN [^\n]*?PRIVATE KEY[^\n]*?-----/;
/** With a line of the key: code that puts one together, or looks for one, has the label alone. */
const KEY_WITH_LINE = new RegExp(`${PRIVATE_KEY.source}(?:(?!-----END)[^])*?[A-Za-z0-9+/=]{40}`);

export interface Refused {
  name: string;
  why: string;
}

export interface Taken {
  taken: Attachment[];
  refused: Refused[];
}

/** Adds files to those that are attached already; each that cannot be is named with its reason. */
export async function take(files: readonly File[], attached: readonly Attachment[]): Promise<Taken> {
  const taken: Attachment[] = [];
  const refused: Refused[] = [];
  for (const file of files) {
    const all = [...attached, ...taken];
    const why = problemOf(file, all) ?? (await read(file, taken));
    if (why) refused.push({ name: file.name, why });
  }
  return { taken, refused };
}

async function read(file: File, taken: Attachment[]): Promise<string | null> {
  const bytes = await file.arrayBuffer().then((buffer) => new Uint8Array(buffer), () => null);
  // A folder looks like a file until it is read.
  if (bytes === null) return 'it cannot be read';
  const text = textOf(bytes);
  if (text === null) return 'it is not text in UTF-8';
  if (PRIVATE_KEY.test(text)) return 'it has a private key in it';
  taken.push({ name: file.name, size: bytes.length, text });
  return null;
}

/** What is wrong with a file by its name and size alone. */
export function problemOf(file: { name: string; size: number }, attached: readonly Attachment[]): string | null {
  const why = nameProblem(file.name);
  if (why !== null) return why;
  if (file.size > MAX_FILE_BYTES) return `it has ${kilobytes(file.size)}, and a file may have ${kilobytes(MAX_FILE_BYTES)}`;
  if (attached.length >= MAX_FILES) return `a message may have ${MAX_FILES} files`;
  const total = attached.reduce((sum, { size }) => sum + size, file.size);
  return total > MAX_TOTAL_BYTES ? `the files of a message may have ${kilobytes(MAX_TOTAL_BYTES)} together` : null;
}

/** Whether the server sends nothing of a file of the code. */
export const isWithheld = (path: string, text: string): boolean => holdsSecrets(path) || KEY_WITH_LINE.test(text);

/** The last part of a path in small letters, and what stands before and behind its last dot. */
function partsOf(path: string): { file: string; stem: string; extension: string } {
  const file = path.slice(Math.max(path.lastIndexOf('/'), path.lastIndexOf('\\')) + 1).toLowerCase();
  const dot = file.lastIndexOf('.');
  return dot < 0 ? { file, stem: file, extension: '' } : { file, stem: file.slice(0, dot), extension: file.slice(dot + 1) };
}

function holdsSecrets(path: string): boolean {
  const { file, extension } = partsOf(path);
  return KEY_NAMES.has(file) || KEY_EXTENSIONS.has(extension) || file.startsWith('.env.');
}

function nameProblem(name: string): string | null {
  const { stem, extension } = partsOf(name);
  if (holdsSecrets(name)) return 'files of this kind hold secrets';
  return EXTENSIONS.has(extension) || NAMES.has(stem) ? null : 'only source code and other text can be attached';
}

/** Null where these bytes are no text: not UTF-8, or with a NUL, which no text has. */
export function textOf(bytes: Uint8Array): string | null {
  if (bytes.includes(0)) return null;
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return null;
  }
}

/** `12 KiB`, rounded up so that nothing has none and one byte too many is seen. */
export function kilobytes(bytes: number): string {
  const kibibytes = bytes / 1024;
  if (kibibytes >= 1024 && kibibytes % 1024 === 0) return `${kibibytes / 1024} MiB`;
  return Number.isInteger(kibibytes) ? `${kibibytes} KiB` : `${(Math.floor(kibibytes * 10) / 10 + 0.1).toFixed(1)} KiB`;
}
