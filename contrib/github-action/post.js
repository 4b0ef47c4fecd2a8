// What the runner starts at the end of the job, always: done.sh, where main.js said.
'use strict';

const { spawnSync } = require('node:child_process');
const path = require('node:path');

const dir = process.env.STATE_dir;
if (dir) {
  const foreign = ([name]) => !name.startsWith('CAPONIER_');
  const env = { ...Object.fromEntries(Object.entries(process.env).filter(foreign)), CAPONIER_DIR: dir };
  const { status, error } = spawnSync('sh', [path.join(__dirname, 'done.sh')], { env, stdio: 'inherit' });
  if (error) console.log(`::error::${error.message}`);
  process.exitCode = status ?? 1;
}
