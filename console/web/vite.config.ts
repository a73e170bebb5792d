import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants } from 'node:zlib';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';

const COMPRESSIBLE = /\.(js|css|html|svg|json)$/;

/** Writes a `.br` beside each text asset, which the server sends as it is. */
function precompress(): Plugin {
  return {
    name: 'precompress',
    apply: 'build',
    writeBundle({ dir: outDir = 'dist' }) {
      for (const file of readdirSync(outDir, { recursive: true, encoding: 'utf8' })) {
        // index.html gets its nonce from the server and so is never sent from a file.
        if (!COMPRESSIBLE.test(file) || file === 'index.html') continue;
        const text = readFileSync(join(outDir, file));
        const params = {
          [constants.BROTLI_PARAM_QUALITY]: 11,
          [constants.BROTLI_PARAM_SIZE_HINT]: text.length,
        };
        writeFileSync(join(outDir, `${file}.br`), brotliCompressSync(text, { params }));
      }
    },
  };
}

export default defineConfig({
  plugins: [svelte(), precompress()],
  cacheDir: '.vite',
  build: {
    target: 'es2022',
    // The first versions with light-dark().
    cssTarget: ['chrome123', 'firefox120', 'safari17.5'],
    // The CSP has no data: for fonts or scripts, and a preload polyfill would be an inline script.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // All of it is a few kilobytes, and a style sheet that failed to load is not asked for again.
    cssCodeSplit: false,
    reportCompressedSize: false,
    rolldownOptions: { checks: { pluginTimings: false } },
  },
  test: { include: ['tests/unit/**/*.test.ts'] },
});
