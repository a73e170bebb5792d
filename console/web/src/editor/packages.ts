/** From what code imports to the package that has to be installed for it. */
import builtins from './builtins.json';
import type { Runtime } from './paths.ts';

const BUILTINS: Record<Runtime, Set<string>> = {
  node: new Set(builtins.node),
  python: new Set(builtins.python),
};

/** Python packages whose name is not that of the module they bring. */
const PYTHON_PACKAGES: Record<string, string> = {
  attr: 'attrs',
  bs4: 'beautifulsoup4',
  Crypto: 'pycryptodome',
  cv2: 'opencv-python',
  dateutil: 'python-dateutil',
  discord: 'discord.py',
  docx: 'python-docx',
  dotenv: 'python-dotenv',
  fitz: 'PyMuPDF',
  git: 'GitPython',
  github: 'PyGithub',
  jose: 'python-jose',
  jwt: 'PyJWT',
  ldap: 'python-ldap',
  magic: 'python-magic',
  markdown: 'Markdown',
  multipart: 'python-multipart',
  MySQLdb: 'mysqlclient',
  nacl: 'PyNaCl',
  OpenSSL: 'pyOpenSSL',
  PIL: 'Pillow',
  pkg_resources: 'setuptools',
  pptx: 'python-pptx',
  psycopg2: 'psycopg2-binary',
  serial: 'pyserial',
  skimage: 'scikit-image',
  sklearn: 'scikit-learn',
  slugify: 'python-slugify',
  socketio: 'python-socketio',
  telegram: 'python-telegram-bot',
  usb: 'pyusb',
  websocket: 'websocket-client',
  yaml: 'PyYAML',
  zmq: 'pyzmq',
};

/** Namespace modules that many packages share: the second part of the name decides. */
const PYTHON_NAMESPACES: Record<string, string> = {
  'google.auth': 'google-auth',
  'google.cloud.bigquery': 'google-cloud-bigquery',
  'google.cloud.firestore': 'google-cloud-firestore',
  'google.cloud.pubsub': 'google-cloud-pubsub',
  'google.cloud.storage': 'google-cloud-storage',
  'google.genai': 'google-genai',
  'google.oauth2': 'google-auth',
  'google.protobuf': 'protobuf',
};

/** The package that brings an import, or null where none is needed. */
export function packageOf(runtime: Runtime, imported: string): string | null {
  return runtime === 'node' ? nodePackage(imported) : pythonPackage(imported);
}

function nodePackage(imported: string): string | null {
  // Relative, absolute, `#internal`, `node:fs`, `https://…`, `data:…`: all of these are no package.
  if (/^[./#]|^[a-z][a-z\d+.-]*:/i.test(imported)) return null;
  const parts = imported.split('/');
  const name = imported.startsWith('@') ? parts.slice(0, 2).join('/') : parts[0];
  if (!name || name === '@' || name.endsWith('/') || (imported.startsWith('@') && parts.length < 2)) return null;
  return BUILTINS.node.has(name) ? null : name;
}

function pythonPackage(imported: string): string | null {
  const [top] = imported.split('.');
  if (!top || BUILTINS.python.has(top)) return null;
  for (const [module, name] of Object.entries(PYTHON_NAMESPACES)) {
    if (imported === module || imported.startsWith(`${module}.`)) return name;
  }
  return PYTHON_PACKAGES[top] ?? top;
}

/** Whether a package that is installed as `name` is meant by `other`; pip compares names by PEP 503. */
export function isSamePackage(runtime: Runtime, name: string, other: string): boolean {
  if (runtime === 'node') return name === other;
  const normal = (text: string) => text.replace(/[-_.]+/g, '-').toLowerCase();
  return normal(name) === normal(other);
}
