// What a person does in the console, in two forms: by hand in the browser, and as the same form sent straight to the
// server, for what a test only needs to be there.
import { randomUUID } from "node:crypto";
import { type APIRequestContext, type APIResponse, type Browser, type BrowserContext, type Locator, type Page, expect, request } from "@playwright/test";
import { owner, password } from "./people";
import { bouncer } from "./server";
import * as where from "./where";

export const keysPath = "/dashboard/developer/api-keys";
export const integrationsPath = "/dashboard/developer/integrations";
/** A key in full, as it is shown once. */
export const wholeKey = /^bnc_(live|test)_[0-9A-Za-z]{38}$/;

/** The fields of a form; a list becomes `name[]`, an object `name[field]`. */
export type Fields = { [name: string]: string | readonly string[] | { [field: string]: string } };

export interface Revealed {
  id: string;
  name: string;
  key: string;
}

/** Encodes fields as a browser would. */
export function encode(fields: Fields): string {
  const body = new URLSearchParams();
  for (const [name, value] of Object.entries(fields)) {
    if (typeof value === "string") body.append(name, value);
    else if (Array.isArray(value)) value.forEach((one: string) => body.append(`${name}[]`, one));
    else Object.entries(value).forEach(([field, text]) => body.append(`${name}[${field}]`, text as string));
  }
  return body.toString();
}

/** Sends a form to a server function, as a hydrated page does. */
export function send(by: APIRequestContext, endpoint: string, fields: Fields = {}, headers: Record<string, string> = {}): Promise<APIResponse> {
  return by.post(`${where.url}/_fn/${endpoint}`, {
    data: encode(fields),
    headers: { "content-type": "application/x-www-form-urlencoded", accept: "application/json", ...headers },
  });
}

/** Asks a server function that takes JSON. */
export function ask(by: APIRequestContext, endpoint: string, data: unknown): Promise<APIResponse> {
  return by.post(`${where.url}/_fn/${endpoint}`, { data, headers: { accept: "application/json" } });
}

/** The create form with nothing changed in it but what is given. */
export function keyForm(name: string, over: Record<string, string> = {}): Record<string, string> {
  return {
    submission: randomUUID(),
    name,
    description: "",
    environment: "live",
    throttle_mode: "off",
    delay: "5",
    min_delay: "3",
    max_delay: "8",
    batch_size: "10",
    batch_cooldown: "60",
    max_queue: "20",
    scope_group: "standard_integration",
    allowed_ips: "",
    rate_limit: "1000",
    expires: "never",
    expires_on: "",
    ...over,
  };
}

/** Makes a key without the dialog. */
export async function makeKey(by: APIRequestContext, name: string, over: Record<string, string> = {}, scopes: readonly string[] = []): Promise<Revealed> {
  const answer = await send(by, "api_keys/create", { form: keyForm(name, over), ...(scopes.length ? { scopes } : {}) });
  expect(answer.status(), await answer.text()).toBe(200);
  return (await answer.json()) as Revealed;
}

export interface Named {
  id: string;
  name: string;
}

/** Makes an instance without the dialog; the sandbox unless said otherwise. */
export async function makeInstance(by: APIRequestContext, name: string, over: Record<string, string> = {}): Promise<Named> {
  const answer = await send(by, "instances/create", { form: { submission: randomUUID(), name, provider: "sandbox", ...over } });
  expect(answer.status(), await answer.text()).toBe(200);
  return { id: ((await answer.json()) as { id: string }).id, name };
}

export interface EndpointMade {
  id: string;
  secret: string;
}

/** Makes a webhook endpoint without the dialog. */
export async function makeEndpoint(by: APIRequestContext, url: string, over: Record<string, string> = {}, events: readonly string[] = ["*"]): Promise<EndpointMade> {
  const form = { url, description: "", environment: "", headers: "", concurrency: "10", rate_limit: "", ...over };
  const answer = await send(by, "webhooks/create", { form, events });
  expect(answer.status(), await answer.text()).toBe(200);
  return (await answer.json()) as EndpointMade;
}

export type Change = "enable" | "disable" | "revoke";

export async function changeKeys(by: APIRequestContext, what: Change, ...ids: string[]): Promise<void> {
  const answer = await send(by, "api_keys/change", { ids, what });
  expect(answer.status(), await answer.text()).toBe(200);
}

/** How many keys a search finds, revoked ones not among them. */
export async function countKeys(by: APIRequestContext, q: string): Promise<number> {
  const answer = await ask(by, "api_keys/list", { filter: { q } });
  expect(answer.status(), await answer.text()).toBe(200);
  return ((await answer.json()) as { total: number }).total;
}

export type RoleName = "owner" | "admin" | "developer" | "viewer";

export interface Person {
  name: string;
  email: string;
  password: string;
}

export function newPerson(name: string): Person {
  const mark = Math.random().toString(36).slice(2, 8);
  return { name: `${name} ${mark}`, email: `${name.toLowerCase().split(" ")[0]}@${mark}.example`, password };
}

/** An invitation's link, made by somebody who may. */
export async function invite(by: APIRequestContext, email: string, role: RoleName): Promise<string> {
  const answer = await send(by, "members/invite", { email, role });
  expect(answer.status(), await answer.text()).toBe(200);
  return ((await answer.json()) as { url: string }).url;
}

/** A new member, signed in: what a program with their cookie may do. */
export async function join(by: APIRequestContext, person: Person, role: RoleName): Promise<APIRequestContext> {
  const token = new URL(await invite(by, person.email, role)).pathname.split("/").pop()!;
  const context = await stranger();
  const answer = await send(context, "invitations/accept", { token, name: person.name, password: person.password });
  expect(answer.status(), await answer.text()).toBeLessThan(400);
  return context;
}

/** An organization of its own, for what would disturb the others, and its owner. */
export async function newOrganization(name: string, person = newPerson("Owner")): Promise<Person> {
  await bouncer(["admin", "create", "--organization", name, "--email", person.email, "--name", person.name, "--password-stdin"], {}, person.password);
  return person;
}

/** Somebody without a cookie. */
export function stranger(baseURL = where.url): Promise<APIRequestContext> {
  return request.newContext({ baseURL, storageState: { cookies: [], origins: [] } });
}

/** Somebody signed in, without a browser. */
export async function signedIn(person: Person = owner): Promise<APIRequestContext> {
  const context = await stranger();
  const answer = await send(context, "session/sign_in", { email: person.email, password: person.password, next: "" });
  expect(answer.status(), await answer.text()).toBeLessThan(400);
  return context;
}

/** A browser of their own for somebody, with a session of their own. */
export async function browserOf(browser: Browser, person: Person = owner): Promise<BrowserContext> {
  const request = await signedIn(person);
  const storageState = await request.storageState();
  await request.dispose();
  return browser.newContext({ storageState });
}

/** Fills in the sign-in page that is open. */
export async function signInByHand(page: Page, person: Person = owner): Promise<void> {
  await page.getByLabel("E-mail address").fill(person.email);
  await page.getByLabel("Password", { exact: true }).fill(person.password);
  await page.getByRole("button", { name: "Sign in" }).click();
}

/** The row of the table that names a key. */
export function rowOf(page: Page, name: string): Locator {
  return page.locator(".keys-table tbody tr").filter({ has: page.locator(".key-name", { hasText: name }) });
}

/** The list with nothing in it but what the search finds: other tests make keys at the same time. */
export function listOf(q: string, more = ""): string {
  return `${keysPath}?q=${encodeURIComponent(q)}${more}`;
}

/** Chooses from a row's menu. */
export async function choose(page: Page, name: string, item: string): Promise<void> {
  await page.getByRole("button", { name: `Actions for ${name}`, exact: true }).click();
  const menu = page.getByRole("group", { name: `Actions for ${name}`, exact: true });
  await menu.getByText(item, { exact: true }).click();
}

/** Ticks a card of a group by its title. */
export async function card(within: Page | Locator, title: string): Promise<void> {
  await within.locator(".radio-card .title", { hasText: title }).click();
}

/** Goes to a step of the create or edit dialog by its tab. */
export async function step(dialog: Locator, name: "Details" | "Anti-Ban" | "Permissions"): Promise<void> {
  await dialog.locator(".step", { hasText: name }).click();
}

/** One sentence in the corner. */
export async function toast(page: Page, text: string | RegExp): Promise<void> {
  await expect(page.locator("#toasts .toast", { hasText: text }).last()).toBeVisible();
}

/** A toast can be seen and clicked: nothing lies over it, and no dialog keeps the mouse away from it. */
export async function onTop(page: Page, text: string | RegExp): Promise<void> {
  const one = page.locator("#toasts .toast", { hasText: text }).last();
  await expect(one).toBeVisible();
  const reached = await one.evaluate((element) => {
    const box = element.getBoundingClientRect();
    return element.contains(document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2));
  });
  expect(reached, `the toast “${text}” is the topmost at its centre`).toBe(true);
}

/** What a call to `/me` with a key is answered with. */
export async function statusOf(program: APIRequestContext, key: string): Promise<number> {
  const answer = await program.get(`${where.url}/api/v1/me`, { headers: { authorization: `Bearer ${key}`, "user-agent": "end2end/1.0" } });
  return answer.status();
}

/** A change must hold on every server within a second. */
export async function withinASecond(program: APIRequestContext, key: string, status: number): Promise<void> {
  await expect.poll(() => statusOf(program, key), { timeout: 1_000, intervals: [25], message: `${status} within a second` }).toBe(status);
}
