// What a browser is told, and what is refused whatever it says.
import { readdirSync, readFileSync } from "node:fs";
import { join as path } from "node:path";
import type { APIRequestContext } from "@playwright/test";
import { ask, encode, integrationsPath, join, keyForm, keysPath, makeEndpoint, makeInstance, makeKey, newPerson, signedIn, stranger } from "../support/console";
import { expect, test, unique } from "../support/fixtures";
import { owner } from "../support/people";
import { Server } from "../support/server";
import * as where from "../support/where";

const pages = [
  keysPath,
  `${keysPath}?panel=new`,
  integrationsPath,
  `${integrationsPath}?panel=new-instance`,
  `${integrationsPath}?panel=new-endpoint`,
  "/dashboard/settings/organization",
  "/dashboard/settings/members",
  "/dashboard/settings/audit",
  "/dashboard/settings/profile",
];
const openPages = ["/sign-in", "/invite/no-such-token", "/no/such/page"];

/** What a content security policy says about a kind of source. */
const directive = (policy: string, name: string) => policy.split(";").map((one) => one.trim()).find((one) => one.startsWith(`${name} `)) ?? "";

test("every page carries the headers that protect it", async ({ page }) => {
  const nonces = new Set<string>();
  const anybody = await stranger();
  const visits: [APIRequestContext, string][] = [...pages.map((one): [APIRequestContext, string] => [page.request, one]), ...openPages.map((one): [APIRequestContext, string] => [anybody, one])];
  for (const [by, at] of visits) {
    const answer = await by.get(at, { headers: { accept: "text/html" } });
    const headers = answer.headers();
    const policy = headers["content-security-policy"] ?? "";
    const says = (name: string) => directive(policy, name);
    expect(says("default-src"), at).toBe("default-src 'self'");
    expect(says("script-src"), at).toMatch(/'self' 'nonce-[\w+/=-]+'/);
    expect(says("style-src"), at).toMatch(/'self'/);
    expect(policy, at).not.toMatch(/unsafe-inline|unsafe-hashes|'unsafe-eval'|https?:|data: *;? *script|\*/);
    expect(says("frame-ancestors"), at).toBe("frame-ancestors 'none'");
    expect(says("base-uri"), at).toMatch(/'(none|self)'/);
    expect(says("form-action"), at).toBe("form-action 'self'");
    expect(headers["x-content-type-options"], at).toBe("nosniff");
    expect(headers["referrer-policy"], at).toMatch(/^(same-origin|no-referrer|strict-origin)/);
    expect(headers["strict-transport-security"], "HSTS only over https").toBeUndefined();
    if (by === page.request) expect(headers["cache-control"], at).toContain("no-store");

    const html = await answer.text();
    const nonce = /'nonce-([^']+)'/.exec(says("script-src"))![1]!;
    expect(nonces.has(nonce), "a nonce is used once").toBe(false);
    nonces.add(nonce);
    for (const [tag] of html.matchAll(/<script\b[^>]*>/g)) expect(tag, at).toContain(`nonce="${nonce}"`);
    expect(html, at).not.toMatch(/<[a-z][^>]*\sstyle=/i);
    expect(html, at).not.toMatch(/<[a-z][^>]*\son[a-z]+="/i);
  }
  await anybody.dispose();
});

test("the cookie of a session cannot be read by scripts or sent along by other sites", async () => {
  const anybody = await stranger();
  const answer = await anybody.post("/_fn/session/sign_in", {
    form: { email: owner.email, password: owner.password },
    headers: { accept: "application/json" },
  });
  const cookie = answer.headersArray().find(({ name, value }) => name.toLowerCase() === "set-cookie" && !value.startsWith("theme="))!.value;
  expect(cookie).toMatch(/;\s*HttpOnly/i);
  expect(cookie).toMatch(/;\s*SameSite=Lax/i);
  expect(cookie).toMatch(/;\s*Path=\//i);
  expect(cookie).not.toMatch(/;\s*Domain=/i);
  expect(cookie, "http cannot carry Secure").not.toMatch(/;\s*Secure/i);
  await anybody.dispose();
});

test("a new session id at sign-in", async () => {
  const person = await signedIn();
  const id = async () => (await person.storageState()).cookies.find(({ name }) => name.includes("bouncer"))!.value;
  const before = await id();
  const again = await person.post("/_fn/session/sign_in", { form: { email: owner.email, password: owner.password }, headers: { accept: "application/json" } });
  expect(again.status()).toBeLessThan(400);
  expect(await id()).not.toBe(before);
  await person.dispose();
});

test("behind https: Secure, __Host- and HSTS", async () => {
  // The proxy that speaks TLS is only imagined.
  const url = `http://127.0.0.1:${where.freePort()}`;
  const server = await Server.start({ url, dataDir: path(where.work, "https"), log: path(where.work, "https.log"), env: { BOUNCER_PUBLIC_URL: "https://bouncer.example" } });
  try {
    const anybody = await stranger(url);
    const form = { organization: "Secure", name: owner.name, email: owner.email, password: owner.password, repeated: owner.password };
    const answer = await anybody.post("/_fn/setup/create", { form, headers: { accept: "application/json", host: "bouncer.example", origin: "https://bouncer.example" } });
    expect(answer.status(), await answer.text()).toBeLessThan(400);
    const cookie = answer.headersArray().find(({ name }) => name.toLowerCase() === "set-cookie")!.value;
    expect(cookie).toMatch(/^__Host-/);
    expect(cookie).toMatch(/;\s*Secure/i);
    expect(cookie).toMatch(/;\s*Path=\/(;|$)/i);
    expect(cookie).not.toMatch(/;\s*Domain=/i);
    const page = await anybody.get("/sign-in");
    expect(page.headers()["strict-transport-security"]).toMatch(/max-age=\d{7,}/);
    await anybody.dispose();
  } finally {
    await server.stop();
  }
});

test("another site cannot act for somebody who is signed in", async ({ page }) => {
  const name = unique("Cross-site");
  const data = encode({ form: keyForm(name) });
  const evil: Record<string, string>[] = [
    { origin: "https://evil.example" },
    { origin: "https://evil.example", "sec-fetch-site": "cross-site" },
    { "sec-fetch-site": "cross-site" },
    { "sec-fetch-site": "same-site", origin: "http://127.0.0.1:1" },
    { origin: "null" },
  ];
  for (const headers of evil) {
    for (const accept of ["application/json", "text/html"]) {
      const answer = await page.request.post("/_fn/api_keys/create", { data, headers: { "content-type": "application/x-www-form-urlencoded", accept, ...headers }, maxRedirects: 0 });
      expect(answer.status(), JSON.stringify(headers)).toBe(403);
    }
  }
  expect(await total(page.request, name)).toBe(0);
  // Our own pages can.
  const own = await page.request.post("/_fn/api_keys/create", {
    data,
    headers: { "content-type": "application/x-www-form-urlencoded", accept: "application/json", origin: where.url, "sec-fetch-site": "same-origin" },
  });
  expect(own.status()).toBe(200);
  expect(own.headers()["cache-control"]).toContain("no-store");
  // A change is never a GET.
  expect((await page.request.get(`/_fn/api_keys/change?${encode({ what: "revoke" })}`)).status()).toBeGreaterThanOrEqual(404);
});

async function total(by: APIRequestContext, q: string): Promise<number> {
  const answer = await ask(by, "api_keys/list", { filter: { q } });
  return ((await answer.json()) as { total: number }).total;
}

// Every server function there is, read from the sources, so that none can be forgotten here.
interface Function {
  /** Who may call it: anybody; who is signed in; who manages keys; who manages members. */
  right: "anybody" | "member" | "keys" | "members";
  /** A complete body, so that it is the right that decides. JSON when it is an object of objects. */
  form?: Parameters<typeof encode>[0];
  json?: unknown;
}

const functions = (id: string, person: string, instance: string, endpoint: string): Record<string, Function> => ({
  "api_keys/list": { right: "member", json: { filter: {} } },
  "api_keys/panel": { right: "keys", json: { panel: { Edit: id } } },
  "api_keys/create": { right: "keys", form: { form: keyForm(unique("Refused")) } },
  "api_keys/edit": { right: "keys", form: { id, form: keyForm("taken over", { version: "1" }) } },
  "api_keys/change": { right: "keys", form: { ids: [id], what: "revoke" } },
  "api_keys/regenerate": { right: "keys", form: { id, version: "1", overlap: "none" } },
  "api_keys/retire_old_secret": { right: "keys", form: { id } },
  "api_keys/issue_secret": { right: "keys", form: { id } },
  "api_keys/remove_secret": { right: "keys", form: { id } },
  "audit/list": { right: "member", json: { filter: {} } },
  "instances/change": { right: "keys", form: { id: instance, what: "delete" } },
  "instances/change_message": { right: "keys", form: { id: "msg_01h455vb4pex5vsknk084sn02q", what: "cancel" } },
  "instances/connection": { right: "keys", json: { id: instance } },
  "instances/create": { right: "keys", form: { form: { name: "Refused", provider: "sandbox" } } },
  "instances/edit": { right: "keys", form: { id: instance, form: { name: "Taken over", version: "1" } } },
  "integrations/list": { right: "member", json: { at: {} } },
  "integrations/panel": { right: "keys", json: { panel: { EditInstance: instance } } },
  "invitations/accept": { right: "anybody" },
  "invitations/offer": { right: "anybody" },
  "members/list": { right: "member" },
  "members/invite": { right: "members", form: { email: "refused@acme.example", role: "owner" } },
  "members/withdraw_invitation": { right: "members", form: { invitation: "inv_01h455vb4pex5vsknk084sn02q" } },
  "members/set_role": { right: "members", form: { person, role: "viewer" } },
  "members/remove": { right: "members", form: { person } },
  "organization/facts": { right: "member" },
  "organization/rename": { right: "members", form: { name: "Taken over" } },
  "organization/switch": { right: "member", form: { organization: "org_01h455vb4pex5vsknk084sn02q" } },
  "profile/show": { right: "member" },
  "profile/sessions": { right: "member" },
  "profile/rename": { right: "member", form: { name: "Taken over" } },
  "profile/password": { right: "member", form: { current: "x", password: "yyyyyyyyyyyyy", repeated: "yyyyyyyyyyyyy" } },
  "profile/end_session": { right: "member", form: { handle: "00000000-0000-0000-0000-000000000000" } },
  "profile/end_other_sessions": { right: "member" },
  "session/doorstep": { right: "anybody" },
  "session/sign_in": { right: "anybody" },
  "session/sign_out": { right: "anybody" },
  "setup/create": { right: "anybody" },
  "setup/doorstep": { right: "anybody" },
  "shell/frame": { right: "member" },
  "shell/search": { right: "member", form: { q: "a" } },
  "shell/theme": { right: "anybody", form: { theme: "dark" } },
  "webhooks/change": { right: "keys", form: { id: endpoint, what: "delete" } },
  "webhooks/create": { right: "keys", form: { form: { url: "https://refused.example" }, events: ["*"] } },
  "webhooks/edit": { right: "keys", form: { id: endpoint, form: { url: "https://refused.example", version: "1" }, events: ["*"] } },
  "webhooks/resend": { right: "keys", form: { id: "dlv_01h455vb4pex5vsknk084sn02q" } },
  "webhooks/rotate": { right: "keys", form: { id: endpoint } },
  "webhooks/test": { right: "keys", form: { id: endpoint } },
});

/** The endpoints of all server functions in the sources of the console. */
function endpoints(): string[] {
  const source = path(where.root, "app", "src");
  const files = readdirSync(source, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".rs"));
  const found = files.flatMap((file) => {
    const text = readFileSync(path(source, file), "utf8");
    const named = [...text.matchAll(/endpoint\s*=\s*"([^"]+)"/g)].map((one) => one[1]!);
    const all = [...text.matchAll(/#\[(?:leptos::)?server\b/g)].filter((one) => !text.slice(one.index).startsWith("#[server(default)"));
    expect(named.length, `every server function in ${file} has a name of its own`).toBe(all.length);
    return named;
  });
  return [...new Set(found)].sort();
}

function call(by: APIRequestContext, endpoint: string, { form, json }: Function, accept = "application/json") {
  const data = json === undefined ? encode(form ?? {}) : JSON.stringify(json);
  const type = json === undefined ? "application/x-www-form-urlencoded" : "application/json";
  return by.post(`/_fn/${endpoint}`, { data, headers: { "content-type": type, accept }, maxRedirects: 0 });
}

/** Everything that a call could have changed. */
async function everything(by: APIRequestContext, id: string, instance: string, endpoint: string): Promise<string> {
  const parts = [];
  const list = (await (await ask(by, "api_keys/list", { filter: { q: id } })).json()) as { rows: Record<string, unknown>[] };
  // Without what time and calls change by themselves.
  parts.push(list.rows.map(({ created, last_use, hours, ...key }) => key));
  const members = (await (await by.post("/_fn/members/list", { headers: { accept: "application/json" } })).json()) as { members: Record<string, unknown>[] };
  parts.push(members.members.filter(({ email }) => email === owner.email).map(({ name, role, email }) => ({ name, role, email })));
  const integrations = (await (await ask(by, "integrations/list", { at: {} })).json()) as { instances: { id: string; name: string }[]; endpoints: { id: string; url: string; disabled: boolean }[] };
  // Other tests make some at the same time.
  parts.push(integrations.instances.filter((one) => one.id === instance).map(({ name }) => name));
  parts.push(integrations.endpoints.filter((one) => one.id === endpoint).map(({ url, disabled }) => ({ url, disabled })));
  parts.push([...integrations.instances.map(({ name }) => name), ...integrations.endpoints.map(({ url }) => url)].filter((name) => /refused/i.test(name)));
  const facts = (await (await by.post("/_fn/organization/facts", { headers: { accept: "application/json" } })).json()) as { organization: { id: string } };
  parts.push(facts.organization.id);
  return JSON.stringify(parts);
}

test("every server function asks who is calling, and what they may", async ({ page }) => {
  const { id } = await makeKey(page.request, unique("Guarded"));
  const list = (await (await page.request.post("/_fn/members/list", { headers: { accept: "application/json" } })).json()) as { me: string };
  const instance = (await makeInstance(page.request, unique("Guarded"))).id;
  const endpoint = (await makeEndpoint(page.request, "https://guarded.example/hook")).id;
  const all = functions(id, list.me, instance, endpoint);
  expect(Object.keys(all).sort(), "a server function is missing here, or gone").toEqual(endpoints());

  const anybody = await stranger();
  const viewer = await join(page.request, newPerson("Sec Viewer"), "viewer");
  const developer = await join(page.request, newPerson("Sec Developer"), "developer");
  const before = await everything(page.request, id, instance, endpoint);
  for (const [endpoint, wanted] of Object.entries(all)) {
    if (wanted.right === "anybody") continue;
    expect((await call(anybody, endpoint, wanted)).status(), `${endpoint} without a session`).toBe(401);
    const plain = await call(anybody, endpoint, wanted, "text/html");
    expect([302, 303, 401], `${endpoint} as a plain form without a session`).toContain(plain.status());
    if (wanted.right === "member") continue;
    expect((await call(viewer, endpoint, wanted)).status(), `${endpoint} by a viewer`).toBe(403);
    if (wanted.right === "members") expect((await call(developer, endpoint, wanted)).status(), `${endpoint} by a developer`).toBe(403);
  }
  expect(await everything(page.request, id, instance, endpoint), "nothing has changed").toBe(before);
  for (const context of [anybody, viewer, developer]) await context.dispose();
});

test("pages and files of the dashboard are for members", async () => {
  const anybody = await stranger();
  for (const at of [...pages, `${keysPath}/export.csv`]) {
    const answer = await anybody.get(at, { maxRedirects: 0, headers: { accept: "text/html" } });
    expect([302, 303], at).toContain(answer.status());
    expect(answer.headers().location, at).toMatch(/^\/sign-in(\?next=|$)/);
  }
  const live = await anybody.get("/dashboard/live/keys/key_01h455vb4pex5vsknk084sn02q/calls", { maxRedirects: 0 });
  expect([302, 303, 401]).toContain(live.status());
  expect((await anybody.get("/no/such/page")).status()).toBe(404);
  await anybody.dispose();
});

test("only an owner makes owners, and the last one stays", async ({ page }) => {
  const admin = await join(page.request, newPerson("Sec Admin"), "admin");
  const json = { accept: "application/json" };
  const { me } = (await (await page.request.post("/_fn/members/list", { headers: json })).json()) as { me: string };
  expect((await admin.post("/_fn/members/remove", { form: { person: me }, headers: json })).status()).toBe(409);
  expect((await admin.post("/_fn/members/invite", { form: { email: "x@acme.example", role: "owner" }, headers: json })).status()).toBe(403);
  const own = (await (await admin.post("/_fn/members/list", { headers: json })).json()) as { me: string };
  expect((await admin.post("/_fn/members/set_role", { form: { person: own.me, role: "owner" }, headers: json })).status()).toBe(403);
  expect((await page.request.post("/_fn/members/set_role", { form: { person: me, role: "viewer" }, headers: json })).status()).toBe(409);
  await admin.dispose();
});
