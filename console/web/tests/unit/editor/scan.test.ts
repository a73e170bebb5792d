import { describe, expect, test } from 'vitest';
import { missing, scan } from '../../../src/editor/scan';
import { importsOf } from '../../../src/editor/imports';
import { nameOfCode } from '../../../src/editor/paths';
import { isSamePackage } from '../../../src/editor/packages';

async function names(runtime: 'node' | 'python', code: string): Promise<string[]> {
  return (await scan(runtime, { [nameOfCode(runtime)]: code })).map(({ name }) => name);
}

describe('packages that Node code imports', () => {
  test.each<[string, string, string[]]>([
    ['require', `const pg = require("pg")`, ['pg']],
    ['single quotes', `require('pg')`, ['pg']],
    ['a template without substitutions', 'require(`pg`)', ['pg']],
    ['a template with one', 'require(`pg-${x}`)', []],
    ['a name that is computed', `require("p" + "g"); require(name)`, []],
    ['require.resolve', `require.resolve("pg/lib")`, ['pg']],
    ['within a function', `module.exports = async () => { const a = require('axios') }`, ['axios']],
    ['import default', `import axios from "axios"`, ['axios']],
    ['import names', `import { a as b } from "axios"`, ['axios']],
    ['import everything', `import * as a from "axios"`, ['axios']],
    ['import for its effect', `import "core-js"`, ['core-js']],
    ['with attributes', `import data from "data-pkg/a.json" with { type: "json" }`, ['data-pkg']],
    ['export from', `export { a } from "axios"; export * from "pg"`, ['axios', 'pg']],
    ['dynamic import', `const { a } = await import("axios")`, ['axios']],
    ['a scope', `require("@aws-sdk/client-s3")`, ['@aws-sdk/client-s3']],
    ['a subpath', `require("lodash/fp"); require("@a/b/c/d")`, ['@a/b', 'lodash']],
    ['only a scope', `require("@aws-sdk")`, []],
    ['relative', `require("./a"); require("../b"); import "."; import "/c"`, []],
    ['subpath imports', `import x from "#lib/x"`, []],
    ['builtins', `require("fs"); require("fs/promises"); import "node:test"; import("node:sqlite")`, []],
    ['URLs', `import("https://esm.sh/pg"); import "data:text/javascript,1"`, []],
    ['comments', `// require("a")\n/* import "b" */ /** import("c") */`, []],
    ['strings', `const s = 'require("a")'; const t = \`import "b"\``, []],
    ['a regular expression', `const r = /require("a")/`, []],
    ['a method called require', `loader.require("a")`, []],
    ['twice', `require("pg"); require("pg/lib")`, ['pg']],
    ['code that does not parse', `const pg = require("pg"\nif (`, ['pg']],
    ['nothing', ``, []],
  ])('%s', async (_, code, expected) => expect(await names('node', code)).toEqual(expected));

  test('types of TypeScript are not installed, values are', async () => {
    const code = `import type { A } from "a"; import { type B } from "b"; export type { C } from "c"; import d = require("d")`;
    expect((await scan('node', { 'index.ts': code })).map(({ name }) => name)).toEqual(['b', 'd']);
  });
});

describe('packages that Python code imports', () => {
  test.each<[string, string, string[]]>([
    ['import', 'import requests', ['requests']],
    ['several', 'import requests, httpx as h, boto3', ['boto3', 'httpx', 'requests']],
    ['dotted, with an alias', 'import a.b.c as d', ['a']],
    ['from', 'from flask import Flask, request as r', ['flask']],
    ['from, in brackets', 'from flask import (\n  Flask,\n  request,\n)', ['flask']],
    ['from, everything', 'from numpy import *', ['numpy']],
    ['from, dotted', 'from sqlalchemy.orm import Session', ['sqlalchemy']],
    ['relative', 'from . import a\nfrom .b import c\nfrom ..d.e import f', []],
    ['within a function', 'def handler(e):\n    import requests\n    return 1', ['requests']],
    ['within try', 'try:\n    import ujson as json\nexcept ImportError:\n    import json', ['ujson']],
    ['on one line', 'import os; import requests', ['requests']],
    ['over two lines', 'from flask \\\n  import Flask', ['flask']],
    ['standard library', 'import os, sys, json.decoder\nfrom asyncio import run\nfrom __future__ import annotations', []],
    ['comments', '# import requests\n', []],
    ['strings', 'x = """\nimport requests\nfrom a import b\n"""\ny = "import c"', []],
    ['importlib', 'import importlib\nimportlib.import_module("requests.adapters")', ['requests']],
    ['__import__', '__import__("requests")', ['requests']],
    ['importlib, relative', 'import importlib\nimportlib.import_module(".a", __package__)', []],
    ['yaml', 'import yaml', ['PyYAML']],
    ['PIL', 'from PIL import Image', ['Pillow']],
    ['cv2', 'import cv2', ['opencv-python']],
    ['bs4', 'from bs4 import BeautifulSoup', ['beautifulsoup4']],
    ['sklearn', 'from sklearn.linear_model import Ridge', ['scikit-learn']],
    ['dateutil', 'from dateutil import parser', ['python-dateutil']],
    ['dotenv', 'from dotenv import load_dotenv', ['python-dotenv']],
    ['psycopg2', 'import psycopg2.extras', ['psycopg2-binary']],
    ['MySQLdb', 'import MySQLdb', ['mysqlclient']],
    ['a namespace', 'from google.cloud import storage\nfrom google.cloud.bigquery import Client', ['google-cloud-bigquery', 'google-cloud-storage']],
    ['twice', 'import yaml\nfrom yaml import safe_load', ['PyYAML']],
    ['nothing', '', []],
  ])('%s', async (_, code, expected) => expect(await names('python', code)).toEqual(expected));

  test('modules of the own folder are not installed', async () => {
    const files = { 'handler.py': 'import shout, lib.text, requests', 'shout.py': '', 'lib/text.py': 'import httpx' };
    expect(await scan('python', files)).toEqual([
      { name: 'httpx', module: 'httpx', path: 'lib/text.py' },
      { name: 'requests', module: 'requests', path: 'handler.py' },
    ]);
  });
});

test('only files of the runtime are read', async () => {
  const files = { 'index.js': 'require("pg")', 'tool.py': 'import requests', 'package.json': '{"a": "require(1)"}' };
  expect((await scan('node', files)).map(({ name }) => name)).toEqual(['pg']);
});

test('what is installed is not found again', async () => {
  expect((await scan('python', { 'handler.py': 'import yaml, httpx' }, ['pyyaml'])).map(({ name }) => name)).toEqual(['httpx']);
});

test('what is installed is not missing, however it is spelt', async () => {
  const imports = await importsOf('handler.py', 'import yaml, dateutil, httpx');
  expect(missing('python', imports, {}, ['pyyaml', 'Python_DateUtil']).map(({ name }) => name)).toEqual(['httpx']);
  expect(isSamePackage('python', 'ruamel.yaml', 'ruamel-yaml')).toBe(true);
  expect(isSamePackage('node', 'JSONStream', 'jsonstream')).toBe(false);
});
