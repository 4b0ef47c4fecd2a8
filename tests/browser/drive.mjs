// A headless Chromium for the integration tests, driven over its own debugging protocol (no package needed).
//
// Reads one step a line from standard input and answers each with one line, so that a test can do other things in
// between: {"ok": true, ...} or {"ok": false, "error": "..."}. Ends, and takes Chromium with it, when standard input
// closes. Steps ("in" is a CSS selector everywhere):
//   {"do": "goto", "url": URL}                       waits for the page's load event; answers url, status
//   {"do": "fill", "in": SELECTOR, "text": TEXT}     empties the field and types into it
//   {"do": "click", "in": SELECTOR} or {"do": "click", "text": TEXT}, with "stays": true when no page follows
//   {"do": "expect", "text": TEXT}                   waits until the page shows the text
//   {"do": "page"}                                   answers url, status, title, text, html, headers
//   {"do": "screenshot", "file": PATH}               writes a PNG
//   {"do": "problems"}                               answers everything the console, the network and the Content
//                                                    Security Policy complained of since the start
// The first argument is one JSON object: chromium (path), javascript (false turns the pages' own scripts off),
// patience_ms (how long any one step may take), width, height.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const settings = JSON.parse(process.argv[2] ?? '{}');
const patience = settings.patience_ms ?? 20_000;
const profile = mkdtempSync(join(tmpdir(), 'caponier-browser-'));

const chromium = spawn(
  settings.chromium ?? '/usr/bin/chromium',
  [
    '--headless=new',
    '--remote-debugging-pipe',
    `--user-data-dir=${profile}`,
    '--no-sandbox', // the tests may run as root, where Chromium refuses its own sandbox
    '--disable-gpu',
    '--disable-dev-shm-usage',
    '--disable-quic',
    '--no-first-run',
    '--no-default-browser-check',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--disable-extensions',
    '--disable-features=Translate,OptimizationHints,MediaRouter,HttpsUpgrades',
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost', // loopback only
    `--window-size=${settings.width ?? 1000},${settings.height ?? 760}`,
    'about:blank',
  ],
  { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'], detached: true },
);

// --- the protocol: JSON messages that end with a zero byte -------------------------------------------------------

const waiting = new Map();
const listeners = new Set();
let last_id = 0;
let held = Buffer.alloc(0);

function call(method, params = {}, sessionId = undefined) {
  last_id += 1;
  const id = last_id;
  chromium.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
  return bounded(new Promise((resolve, reject) => waiting.set(id, { resolve, reject, method })), method);
}

function receive(message) {
  if (message.id === undefined) {
    for (const listener of [...listeners]) listener(message.method, message.params);
    return;
  }
  const asked = waiting.get(message.id);
  waiting.delete(message.id);
  if (asked === undefined) return;
  if (message.error) asked.reject(new Error(`${asked.method}: ${message.error.message}`));
  else asked.resolve(message.result);
}

chromium.stdio[4].on('data', (chunk) => {
  held = Buffer.concat([held, chunk]);
  for (let end = held.indexOf(0); end >= 0; end = held.indexOf(0)) {
    const message = held.subarray(0, end).toString('utf8');
    held = held.subarray(end + 1);
    receive(JSON.parse(message));
  }
});

function bounded(promise, what) {
  let timer;
  const late = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing within ${patience} ms`)), patience);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function event(name) {
  let listener;
  const seen = new Promise((resolve) => {
    listener = (method, params) => method === name && resolve(params);
    listeners.add(listener);
  });
  return bounded(seen, name).finally(() => listeners.delete(listener));
}

// --- the page ----------------------------------------------------------------------------------------------------

const problems = [];
let session;
let last_response = { status: 0, headers: {} };

function watch(method, params) {
  if (method === 'Network.responseReceived' && params.type === 'Document') {
    last_response = { status: params.response.status, headers: params.response.headers };
  } else if (method === 'Log.entryAdded' && ['error', 'warning'].includes(params.entry.level)) {
    problems.push(`${params.entry.source}: ${params.entry.text} ${params.entry.url ?? ''}`.trim());
  } else if (method === 'Runtime.consoleAPICalled' && ['error', 'warning', 'assert'].includes(params.type)) {
    problems.push(`console: ${params.args.map((arg) => arg.value ?? arg.description).join(' ')}`);
  } else if (method === 'Runtime.exceptionThrown') {
    problems.push(`exception: ${params.exceptionDetails.text}`);
  } else if (method === 'Audits.issueAdded' && params.issue.code === 'ContentSecurityPolicyIssue') {
    const about = params.issue.details.contentSecurityPolicyIssueDetails;
    problems.push(`policy: ${about.violatedDirective} ${about.blockedURL ?? about.contentSecurityPolicyViolationType}`);
  }
}

async function open() {
  const { targetInfos } = await call('Target.getTargets');
  const { targetId } = targetInfos.find((target) => target.type === 'page');
  session = (await call('Target.attachToTarget', { targetId, flatten: true })).sessionId;
  listeners.add(watch);
  for (const domain of ['Page', 'Network', 'Runtime', 'Log', 'Audits']) await call(`${domain}.enable`, {}, session);
  if (settings.javascript === false) {
    await call('Emulation.setScriptExecutionDisabled', { value: true }, session);
  }
}

// Runs in the page, from outside: it works with the page's own scripts turned off and under any policy.
async function evaluate(expression) {
  const answer = await call('Runtime.evaluate', { expression, returnByValue: true, awaitPromise: true }, session);
  if (answer.exceptionDetails) throw new Error(answer.exceptionDetails.exception?.description ?? 'evaluate');
  return answer.result.value;
}

// A condition in the page, asked again until it holds; a page that is just being replaced counts as "not yet".
async function until(what, expression) {
  const deadline = Date.now() + patience;
  for (;;) {
    const value = await evaluate(expression).catch(() => undefined);
    if (value) return value;
    if (Date.now() > deadline) {
      const shown = await evaluate('location.href + "\\n" + document.body.innerText').catch(() => '(no page)');
      throw new Error(`${what}: not there within ${patience} ms; the page is ${shown}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

function finder(step) {
  if (step.in !== undefined) return `document.querySelector(${JSON.stringify(step.in)})`;
  return `[...document.querySelectorAll('button, a, input[type=submit], label, summary')]
    .find((one) => (one.innerText || one.value || '').trim() === ${JSON.stringify(step.text)})`;
}

const steps = {
  async goto(step) {
    const loaded = event('Page.loadEventFired');
    const { errorText } = await call('Page.navigate', { url: step.url }, session);
    if (errorText) {
      loaded.catch(() => {});
      throw new Error(`${step.url}: ${errorText}`);
    }
    await loaded;
    return { url: await until('an address', 'location.href'), status: last_response.status };
  },

  async fill(step) {
    const found = finder({ in: step.in });
    await until(`a field ${step.in}`, `!!${found}`);
    await evaluate(`(${found}).focus(), (${found}).select?.()`);
    await call('Input.insertText', { text: step.text }, session);
    const value = await evaluate(`(${found}).value`);
    if (value !== step.text) throw new Error(`${step.in} holds ${JSON.stringify(value)}`);
    return {};
  },

  async click(step) {
    const found = finder(step);
    const at = await until(
      `something to click, ${step.in ?? step.text}`,
      `(() => {
        const one = ${found};
        if (!one) return null;
        one.scrollIntoView({ block: 'center' });
        const box = one.getBoundingClientRect();
        return box.width > 0 && { x: box.x + box.width / 2, y: box.y + box.height / 2 };
      })()`,
    );
    const loaded = step.stays ? undefined : event('Page.loadEventFired');
    const mouse = { ...at, button: 'left', clickCount: 1 };
    await call('Input.dispatchMouseEvent', { type: 'mousePressed', ...mouse }, session);
    await call('Input.dispatchMouseEvent', { type: 'mouseReleased', ...mouse }, session);
    await loaded;
    return { url: await until('an address', 'location.href'), status: last_response.status };
  },

  async expect(step) {
    await until(`the text ${JSON.stringify(step.text)}`, `document.body.innerText.includes(${JSON.stringify(step.text)})`);
    return {};
  },

  async page() {
    const shown = await until(
      'a page',
      `({ url: location.href, title: document.title, text: document.body.innerText,
          html: document.documentElement.outerHTML })`,
    );
    return { ...shown, ...last_response };
  },

  async screenshot(step) {
    const { data } = await call('Page.captureScreenshot', { format: 'png' }, session);
    writeFileSync(step.file, Buffer.from(data, 'base64'));
    return {};
  },

  async problems() {
    return { problems };
  },
};

// --- the life of it ----------------------------------------------------------------------------------------------

function answer(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

async function take(line) {
  const step = JSON.parse(line);
  const act = steps[step.do];
  if (act === undefined) throw new Error(`no such step: ${step.do}`);
  return act(step);
}

function end(code) {
  try {
    process.kill(-chromium.pid, 'SIGKILL');
  } catch {
    // It is gone already.
  }
  rmSync(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  process.exit(code);
}

chromium.on('error', (error) => {
  answer({ ok: false, error: `chromium: ${error.message}` });
  end(1);
});
chromium.on('exit', (code) => {
  answer({ ok: false, error: `chromium ended by itself (${code})` });
  end(1);
});
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => end(1));

try {
  await open();
} catch (error) {
  answer({ ok: false, error: error.message });
  end(1);
}
answer({ ok: true });
for await (const line of createInterface({ input: process.stdin })) {
  try {
    answer({ ok: true, ...(await take(line)) });
  } catch (error) {
    answer({ ok: false, error: error.message });
  }
}
end(0);
