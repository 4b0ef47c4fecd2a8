// What the runner starts at this step: hands the inputs to login.sh as variables, and keeps for post.js where things are.
// No dependencies, and no decisions: those are login.sh's and the binary's.
'use strict';

const { spawnSync } = require('node:child_process');
const { randomBytes } = require('node:crypto');
const { appendFileSync } = require('node:fs');
const path = require('node:path');

const VARIABLES = {
  CAPONIER_SERVER: 'ca-url',
  CAPONIER_CA_FINGERPRINT: 'ca-fingerprint',
  CAPONIER_URL: 'caponier-url',
  CAPONIER_SHA256: 'caponier-sha256',
  CAPONIER_PRINCIPALS: 'principals',
  CAPONIER_LIFE: 'ttl',
  CAPONIER_WAIT: 'wait',
  CAPONIER_ROLE: 'role',
  CAPONIER_TARGETS: 'targets',
  CAPONIER_REASON: 'reason',
  CAPONIER_ISSUER: 'issuer',
  CAPONIER_AUDIENCE: 'audience',
  CAPONIER_DRY_RUN: 'dry-run',
};

// A folder for each use, so that one job may go to two bastions.
const dir = path.join(process.env.RUNNER_TEMP || '/tmp', `caponier-${randomBytes(4).toString('hex')}`);
// The inputs count and no variable of the job, also where an input is empty: an earlier step may have set variables.
const foreign = ([name]) => !name.startsWith('CAPONIER_');
const env = { ...Object.fromEntries(Object.entries(process.env).filter(foreign)), CAPONIER_DIR: dir };
for (const [variable, input] of Object.entries(VARIABLES)) {
  const value = (process.env[`INPUT_${input.toUpperCase()}`] || '').trim();
  if (value) env[variable] = value;
}

// First of all: whatever happens next, the last step knows where to clean up.
appendFileSync(process.env.GITHUB_STATE, `dir=${dir}\n`);
const { status, error } = spawnSync('sh', [path.join(__dirname, 'login.sh')], { env, stdio: 'inherit' });
if (error) console.log(`::error::${error.message}`);
process.exitCode = status ?? 1;
