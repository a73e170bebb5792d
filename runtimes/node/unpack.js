'use strict';
// Code that came in the environment, as files of the function's folder: KIPPER_FILES has their paths, one per line, and
// KIPPER_FILE_<n> the text of each. The variables are gone afterwards: neither the function nor its children see them.
// Nobody can write to the files, as to those of a volume.

const fs = require('node:fs');
const path = require('node:path');
const { LoadError } = require('./load');

const READ_ONLY = 0o444;
const READ_ONLY_FOLDER = 0o555;

function unpack(env, root) {
  const paths = env.KIPPER_FILES.split('\n');
  delete env.KIPPER_FILES;
  const folders = new Set([root]);
  for (const [place, name] of paths.entries()) {
    const variable = `KIPPER_FILE_${place}`;
    const file = path.join(root, name);
    for (let at = path.dirname(name); at !== '.'; at = path.dirname(at)) folders.add(path.join(root, at));
    try {
      fs.mkdirSync(path.dirname(file), { recursive: true });
      fs.writeFileSync(file, env[variable], { mode: READ_ONLY });
    } catch (error) {
      throw new LoadError(`cannot write ${file}: ${error.code}`);
    }
    delete env[variable];
  }
  for (const folder of folders) fs.chmodSync(folder, READ_ONLY_FOLDER);
}

module.exports = { unpack };
