// What a new function starts with. Used on the page for new functions only, never for an existing one.

import type { Runtime, Spec } from '../api/types.ts';

const NODE = `module.exports = async (event, context) => {
  // An HTTP request: event is its body; context has method, path, query and headers.
  const name = event?.name ?? context.query?.name ?? 'world';
  return { message: \`Hello, \${name}!\` };
};
`;

const PYTHON = `def handler(event, context=None):
    # An HTTP request: event is its body; context has method, path, query and headers.
    name = (event or {}).get("name", "world")
    return {"message": f"Hello, {name}!"}
`;

export const starterCode = (runtime: Runtime): string => (runtime === 'python' ? PYTHON : NODE);

export const isStarterCode = (code: string | undefined): boolean => code === NODE || code === PYTHON;

export const starterSpec = (runtime: Runtime): Spec => ({
  runtime,
  source: { code: starterCode(runtime) },
  triggers: [{ type: 'http' }],
});
