// The identity provider that the integration tests sign in at: the npm package `oidc-provider` with its in-memory
// adapter, three people, and a login page of its own that works without JavaScript.
//
// It reads one line of JSON from standard input:
//   {"port": 0, "clients": [{"client_id", "client_secret", "redirect_uris": [...]}], "alg": "RS256", "people": {...},
//    "id_token_secs": 300, "refresh": false}
// answers one line of JSON, {"issuer": "http://127.0.0.1:PORT"}, and lives until standard input closes, so that it
// never outlives the test that started it. What goes wrong is told on standard error, one line each.
//
// With "refresh" it gives refresh tokens, each good for one use. After the first line it takes orders, one line each, and
// answers each with one line:
//   {"do": "people", "people": {...}}   these are the people from now on; who is missing has no account any more
//   {"do": "tokens"}                    {"tokens": [...]}: every refresh token it gave out
//   {"do": "logout", "person": "..."}   sends a logout token of the person's last session to each client that wants such

import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import Provider from 'oidc-provider';

const PEOPLE = {
  engineer: { name: 'Erin Engineer', email: 'engineer@example.test', groups: ['engineers'] },
  reviewer: { name: 'Robin Reviewer', email: 'reviewer@example.test', groups: ['engineers', 'reviewers'] },
  auditor: { name: 'Ash Auditor', email: 'auditor@example.test', groups: ['auditors'] },
};

const lines = createInterface({ input: process.stdin });
const asked = await new Promise((resolve, reject) => {
  lines.once('line', (line) => resolve(JSON.parse(line)));
  lines.once('close', () => reject(new Error('no settings on standard input')));
});
lines.once('close', () => process.exit(0));

let people = asked.people ?? PEOPLE;
const alg = asked.alg ?? 'RS256';

function signingKeys() {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  return [
    { ...rsa.export({ format: 'jwk' }), kid: `rsa-${randomBytes(4).toString('hex')}`, alg: 'RS256', use: 'sig' },
    { ...ec.export({ format: 'jwk' }), kid: `ec-${randomBytes(4).toString('hex')}`, alg: 'ES256', use: 'sig' },
  ];
}

const scopes = ['openid', 'profile', 'email', 'groups', ...(asked.refresh ? ['offline_access'] : [])];
const given = { tokens: [], sids: new Map() };

const server = createServer();
await new Promise((resolve) => server.listen(asked.port ?? 0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: asked.clients.map((client) => ({
    grant_types: asked.refresh ? ['authorization_code', 'refresh_token'] : ['authorization_code'],
    response_types: ['code'],
    token_endpoint_auth_method: 'client_secret_basic',
    id_token_signed_response_alg: alg,
    ...client,
  })),
  jwks: { keys: signingKeys() },
  cookies: { keys: [randomBytes(32).toString('hex')] },
  scopes,
  claims: { openid: ['sub'], profile: ['name'], email: ['email', 'email_verified'], groups: ['groups'] },
  // With this off the ID token itself carries the claims of the scopes, as most company providers do it.
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  features: {
    devInteractions: { enabled: false },
    rpInitiatedLogout: { enabled: false },
    backchannelLogout: { enabled: true },
  },
  issueRefreshToken: async () => asked.refresh === true,
  rotateRefreshToken: true,
  // Everything of the tests is on loopback, where the provider by itself sends nothing.
  fetch: (url, options) => {
    const { dispatcher: _ignored, ...rest } = options;
    return globalThis.fetch(url, rest);
  },
  ttl: {
    AccessToken: 300,
    AuthorizationCode: 60,
    IdToken: asked.id_token_secs ?? 300,
    Interaction: 600,
    Session: 3600,
    Grant: 3600,
    RefreshToken: 3600,
  },
  interactions: { url: (_ctx, interaction) => `/sign-in/${interaction.uid}` },
  // Everybody has consented to everything: the tests are about us, not about the provider's second page.
  async loadExistingGrant(ctx) {
    const grant = new ctx.oidc.provider.Grant({
      clientId: ctx.oidc.client.clientId,
      accountId: ctx.oidc.session.accountId,
    });
    grant.addOIDCScope(scopes.join(' '));
    await grant.save();
    return grant;
  },
  async findAccount(_ctx, id) {
    const person = people[id];
    if (person === undefined) return undefined;
    return { accountId: id, claims: async () => ({ sub: id, email_verified: true, ...person }) };
  },
  async renderError(ctx, out) {
    ctx.type = 'html';
    ctx.body = page('Error', `<p id="error">${text(out.error)}: ${text(out.error_description ?? '')}</p>`);
  },
});

for (const event of ['server_error', 'authorization.error', 'grant.error', 'jwks.error', 'discovery.error']) {
  provider.on(event, (_ctx, error) => {
    process.stderr.write(`${event}: ${error.message} ${error.error_description ?? ''} ${error.error_detail ?? ''}\n`);
  });
}

provider.on('grant.success', (ctx) => {
  const { RefreshToken: refresh, AuthorizationCode: code } = ctx.oidc.entities;
  const source = refresh ?? code;
  if (source?.sid) given.sids.set(source.accountId, source.sid);
  if (ctx.body.refresh_token) given.tokens.push(ctx.body.refresh_token);
});

async function obey(order) {
  switch (order.do) {
    case 'people':
      people = order.people;
      return {};
    case 'tokens':
      return { tokens: given.tokens };
    case 'logout':
      for (const { client_id: id } of asked.clients) {
        const client = await provider.Client.find(id);
        await client.backchannelLogout(order.person, given.sids.get(order.person));
      }
      return {};
    default:
      throw new Error(`unknown order ${order.do}`);
  }
}

lines.on('line', (line) => {
  obey(JSON.parse(line)).then(
    (answer) => process.stdout.write(`${JSON.stringify({ ok: true, ...answer })}\n`),
    (error) => process.stdout.write(`${JSON.stringify({ ok: false, error: error.message })}\n`),
  );
});

function text(value) {
  return String(value).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

function page(title, body) {
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${text(title)}</title>
<link rel="icon" href="data:,"></head><body><h1>${text(title)}</h1>${body}</body></html>`;
}

function loginPage(client, wrong) {
  return page(
    'Example Corp sign-in',
    `${wrong ? '<p id="error">Wrong name or password.</p>' : ''}
<form method="post"><p>Signing in to <b>${text(client)}</b></p>
<p><label>Name <input name="login" autocomplete="username" required></label></p>
<p><label>Password <input name="password" type="password" autocomplete="current-password" required></label></p>
<p><button type="submit">Sign in</button> <button type="submit" name="cancel" value="1" formnovalidate>Cancel</button></p>
</form>`,
  );
}

async function body(request) {
  let all = '';
  for await (const chunk of request) {
    all += chunk;
    if (all.length > 16384) throw new Error('form too large');
  }
  return new URLSearchParams(all);
}

function send(response, status, html) {
  response.writeHead(status, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' });
  response.end(html);
}

async function signIn(request, response) {
  const { params } = await provider.interactionDetails(request, response);
  if (request.method !== 'POST') return send(response, 200, loginPage(params.client_id, false));
  const form = await body(request);
  if (form.get('cancel')) {
    const result = { error: 'access_denied', error_description: 'cancelled at the provider' };
    return provider.interactionFinished(request, response, result);
  }
  const login = form.get('login') ?? '';
  const known = Object.hasOwn(people, login) && form.get('password') === `${login}-password`;
  if (!known) return send(response, 200, loginPage(params.client_id, true));
  return provider.interactionFinished(request, response, { login: { accountId: login } });
}

const rest = provider.callback();
server.on('request', (request, response) => {
  // Browsers ask for it by themselves, and would tell of its absence.
  if (request.url === '/favicon.ico') {
    response.writeHead(204).end();
    return;
  }
  if (!request.url.startsWith('/sign-in/')) {
    rest(request, response);
    return;
  }
  signIn(request, response).catch((error) => {
    process.stderr.write(`sign-in: ${error.message}\n`);
    send(response, 400, page('Error', `<p id="error">${text(error.message)}</p>`));
  });
});

process.stdout.write(`${JSON.stringify({ issuer })}\n`);
