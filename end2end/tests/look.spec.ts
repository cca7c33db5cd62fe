// Every page and dialog as people see it: no accessibility violations in either theme, nothing wider than the screen,
// pictures, and the keyboard.
import { mkdirSync } from "node:fs";
import type { BrowserContext, Page } from "@playwright/test";
import { browserOf, card, choose, integrationsPath, invite, keysPath, makeInstance, makeKey, newOrganization, rowOf, send, signedIn, step } from "../support/console";
import { checkAccessibility, checkWidths, chooseTheme, expect, hydrated, open, picture, test, themes, unique, watch } from "../support/fixtures";
import { type Lifelike, lifelike } from "../support/lifelike";
import { Receiver, Waha } from "../support/outside";
import { sql } from "../support/server";
import * as where from "../support/where";

test.describe.configure({ mode: "parallel" });

let shop: Lifelike;
let context: BrowserContext;
test.beforeAll(async ({ browser }) => {
  test.setTimeout(90_000);
  mkdirSync(where.screenshots, { recursive: true });
  shop = await lifelike("Kaffeehaus Graz");
  context = await browserOf(browser, shop.owner);
  // Pictures go into the README: they should not depend on how fast the machine is.
  await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: where.url });
});
test.afterAll(async () => {
  await context.close();
  await shop.by.dispose();
});

const key = (name: string) => shop.keys.get(name)!.id;
const instance = (name: string) => shop.instances.get(name)!;
const endpoint = (part: string) => [...shop.endpoints].find(([url]) => url.includes(part))![1];
const settings = "/dashboard/settings";

interface State {
  name: string;
  path: () => string | Promise<string>;
  /** What to do on the page before it is looked at. */
  then?: (page: Page) => Promise<void>;
  status?: number;
  /** Statuses that `then` provokes. */
  allow?: number[];
  signedOut?: true;
}

const states: State[] = [
  { name: "api-keys", path: () => `${keysPath}?per_page=25`, then: (page) => expect(page.locator(".keys-table tbody tr")).toHaveCount(12) },
  { name: "api-keys-selected", path: () => keysPath, then: async (page) => {
    await page.getByRole("checkbox", { name: "Select Zapier leads", exact: true }).check();
    await page.getByRole("checkbox", { name: "Select n8n order workflow", exact: true }).check();
    await expect(page.getByRole("region", { name: "Selected keys" })).toBeVisible();
  } },
  { name: "api-keys-menu", path: () => keysPath, then: async (page) => {
    await page.getByRole("button", { name: "Actions for Newsletter sender" }).click();
    await expect(page.getByRole("group", { name: "Actions for Newsletter sender" })).toBeVisible();
  } },
  { name: "api-keys-filtered", path: () => `${keysPath}?environment=live&no_ip_list=1&sort=name`, then: (page) => expect(page.getByRole("list", { name: "Filters in force" })).toBeVisible() },
  { name: "api-keys-nothing-found", path: () => `${keysPath}?q=nothing+like+it`, then: (page) => expect(page.getByText("No key matches")).toBeVisible() },
  { name: "api-keys-revoked", path: () => `${keysPath}?status=revoked`, then: (page) => expect(rowOf(page, "Legacy plugin")).toBeVisible() },
  { name: "create-details", path: () => `${keysPath}?panel=new`, then: (page) => page.getByLabel("Key Name").fill("Shop plugin") },
  { name: "create-anti-ban", path: () => `${keysPath}?panel=new`, then: async (page) => {
    const dialog = page.getByRole("dialog");
    await step(dialog, "Anti-Ban");
    await card(dialog, "Smart");
    await expect(dialog.locator(".send-times li")).toHaveCount(10);
  } },
  { name: "create-permissions", path: () => `${keysPath}?panel=new`, then: async (page) => {
    const dialog = page.getByRole("dialog");
    await step(dialog, "Permissions");
    await dialog.getByText("Choose individually").click();
  } },
  { name: "create-advanced", path: () => `${keysPath}?panel=new`, then: async (page) => {
    const dialog = page.getByRole("dialog");
    await step(dialog, "Permissions");
    await dialog.getByText("Advanced settings").click();
    await dialog.getByLabel("Allowed IP Addresses").fill("203.0.113.0/24");
    await dialog.getByLabel("Expiration").selectOption("date");
  } },
  { name: "create-errors", path: () => `${keysPath}?panel=new`, then: async (page) => {
    const dialog = page.getByRole("dialog");
    await step(dialog, "Permissions");
    await dialog.getByRole("button", { name: "Create API Key" }).click();
    await expect(dialog.locator("#key-name-note .error")).toBeVisible();
  } },
  { name: "edit", path: () => `${keysPath}?panel=edit&key=${key("WooCommerce Graz")}` },
  { name: "regenerate", path: () => `${keysPath}?panel=regenerate&key=${key("n8n order workflow")}` },
  { name: "revoke", path: () => `${keysPath}?panel=revoke&key=${key("Newsletter sender")}` },
  { name: "revoke-several", path: () => `${keysPath}?panel=revoke&key=${key("Zapier leads")},${key("Contractor access")}` },
  { name: "usage", path: () => `${keysPath}?panel=usage&key=${key("WooCommerce Graz")}` },
  { name: "usage-rotating", path: () => `${keysPath}?panel=usage&key=${key("Newsletter sender")}`, then: (page) => expect(page.getByRole("button", { name: "Retire now" })).toBeVisible() },
  { name: "history", path: () => `${keysPath}?panel=history&key=${key("Newsletter sender")}` },
  { name: "shown-once", path: () => `${keysPath}?panel=created&key=${key("Zapier leads")}` },
  { name: "no-such-key", path: () => `${keysPath}?panel=usage&key=key_01h455vb4pex5vsknk084sn02q`, status: 404 },
  { name: "create-instances", path: () => `${keysPath}?panel=new`, then: async (page) => {
    const dialog = page.getByRole("dialog");
    await step(dialog, "Permissions");
    await dialog.getByText("Advanced settings").click();
    await card(dialog, "Some");
    await dialog.getByRole("checkbox", { name: "Support Graz" }).check();
    await dialog.getByLabel("Issue an API secret").check();
    await dialog.getByLabel("Issue an API secret").scrollIntoViewIfNeeded();
  } },
  { name: "edit-api-secret", path: () => `${keysPath}?panel=edit&key=${key("WooCommerce Graz")}`, then: async (page) => {
    await step(page.getByRole("dialog"), "Permissions");
    await page.getByRole("button", { name: "Issue API secret" }).scrollIntoViewIfNeeded();
  } },
  { name: "integrations", path: () => integrationsPath, then: (page) => expect(page.locator(".integrations tbody tr")).toHaveCount(6) },
  { name: "integrations-menu", path: () => integrationsPath, then: async (page) => {
    await page.getByRole("button", { name: "Actions for Support Graz" }).click();
    await expect(page.getByRole("group", { name: "Actions for Support Graz" })).toBeVisible();
  } },
  { name: "instance-new", path: () => `${integrationsPath}?panel=new-instance`, then: (page) => page.getByLabel("Name", { exact: true }).fill("Support Graz") },
  { name: "instance-new-waha", path: () => `${integrationsPath}?panel=new-instance`, then: (page) => card(page.getByRole("dialog"), "WAHA") },
  { name: "instance-new-cloud", path: () => `${integrationsPath}?panel=new-instance`, then: (page) => card(page.getByRole("dialog"), "WhatsApp Cloud API") },
  { name: "instance-new-errors", path: () => `${integrationsPath}?panel=new-instance`, then: async (page) => {
    const dialog = page.getByRole("dialog");
    await card(dialog, "WAHA");
    await dialog.getByRole("button", { name: "Add instance" }).click();
    await expect(dialog.locator("#instance-name-note .error")).toBeVisible();
  }, allow: [422] },
  { name: "instance-edit", path: () => `${integrationsPath}?panel=edit-instance&id=${instance("Newsletter")}` },
  { name: "instance", path: () => `${integrationsPath}?panel=instance&id=${instance("Rehearsal")}`, then: (page) => expect(page.getByRole("list", { name: "Waiting messages" }).getByRole("listitem")).toHaveCount(6) },
  { name: "instance-waha", path: () => `${integrationsPath}?panel=instance&id=${instance("Support Graz")}` },
  { name: "instance-connect-cloud", path: () => `${integrationsPath}?panel=connect-instance&id=${instance("Newsletter")}` },
  { name: "instance-delete", path: () => `${integrationsPath}?panel=delete-instance&id=${instance("Rehearsal")}` },
  { name: "endpoint-new", path: () => `${integrationsPath}?panel=new-endpoint`, then: async (page) => {
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("URL").fill("https://shop.acme.example/hooks/bouncer");
    await dialog.getByRole("checkbox", { name: /^All events/ }).uncheck();
    await dialog.getByRole("checkbox", { name: /message\.\*/ }).check();
  } },
  { name: "endpoint-edit", path: () => `${integrationsPath}?panel=edit-endpoint&id=${endpoint("n8n")}`, then: (page) => page.getByRole("dialog").getByText("Advanced settings").click() },
  { name: "endpoint", path: () => `${integrationsPath}?panel=endpoint&id=${endpoint("shop")}` },
  { name: "endpoint-failing", path: () => `${integrationsPath}?panel=endpoint&id=${endpoint("n8n")}` },
  { name: "endpoint-rotate", path: () => `${integrationsPath}?panel=rotate-endpoint&id=${endpoint("shop")}` },
  { name: "endpoint-delete", path: () => `${integrationsPath}?panel=delete-endpoint&id=${endpoint("n8n")}` },
  { name: "endpoint-shown-once", path: () => `${integrationsPath}?panel=endpoint-created&id=${endpoint("shop")}` },
  { name: "no-such-instance", path: () => `${integrationsPath}?panel=instance&id=ins_01h455vb4pex5vsknk084sn02q`, status: 404 },
  { name: "shortcuts", path: () => keysPath, then: async (page) => {
    await page.keyboard.press("?");
    await expect(page.getByRole("dialog", { name: "Keyboard shortcuts" })).toBeVisible();
  } },
  { name: "palette", path: () => keysPath, then: async (page) => {
    await page.keyboard.press("Control+k");
    await page.getByRole("combobox", { name: "Go to a name, an id or a page" }).fill("scan");
    await expect(page.getByRole("option", { name: /Warehouse scanner/ })).toBeVisible();
  } },
  { name: "organization", path: () => `${settings}/organization` },
  { name: "members", path: () => `${settings}/members`, then: (page) => expect(page.getByRole("region", { name: "Invitations" })).toBeVisible() },
  { name: "members-invite", path: () => `${settings}/members?panel=invite` },
  { name: "members-role", path: () => `${settings}/members`, then: async (page) => {
    await choose(page, "Jonas Reiter", "Change role");
    await expect(page.getByRole("dialog", { name: "Role of Jonas Reiter" })).toBeVisible();
  } },
  { name: "members-remove", path: () => `${settings}/members`, then: async (page) => {
    await choose(page, "Aylin Demir", "Remove");
    await expect(page.getByRole("alertdialog")).toBeVisible();
  } },
  { name: "audit", path: () => `${settings}/audit`, then: (page) => expect(page.getByRole("region", { name: "Audit log" })).toBeVisible() },
  { name: "profile", path: () => `${settings}/profile`, then: (page) => expect(page.getByRole("region", { name: "Sessions" })).toBeVisible() },
  { name: "not-found", path: () => "/no/such/page", status: 404 },
  { name: "sign-in", path: () => "/sign-in", signedOut: true },
  { name: "invitation", path: () => invite(shop.by, `${unique("new").replace(" ", ".")}@acme.example`, "developer"), signedOut: true },
  { name: "invitation-over", path: () => "/invite/no-such-token", signedOut: true, status: 404 },
];

for (const state of states) {
  test(`${state.name} looks right`, async ({ browser }) => {
    const here = state.signedOut ? await browser.newContext({ storageState: { cookies: [], origins: [] } }) : context;
    const page = await here.newPage();
    const watched = watch(page);
    if (state.status) watched.allowStatus(state.status);
    watched.allowStatus(...(state.allow ?? []));
    const answer = await open(page, await state.path());
    expect(answer?.status()).toBe(state.status ?? 200);
    await expect(page.getByRole("heading").first()).toBeVisible();
    await expect(page.locator("[aria-busy=true]")).toHaveCount(0);
    await state.then?.(page);
    await checkAccessibility(page);
    await checkWidths(page, state.name);
    await picture(page, state.name);
    // What is laid out otherwise on a phone is read out otherwise, and stands on other grounds.
    await page.setViewportSize({ width: 360, height: 740 });
    await checkAccessibility(page);
    watched.check();
    await page.close();
    if (state.signedOut) await here.close();
  });
}

test("reveal looks right, before and after the first call", async ({ api }) => {
  // Twice all four forms, and a key in between.
  test.setTimeout(120_000);
  const page = await context.newPage();
  const watched = watch(page);
  await open(page, `${keysPath}?panel=new`);
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Key Name").fill(unique("Shop plugin"));
  await step(dialog, "Permissions");
  await dialog.getByRole("button", { name: "Create API Key" }).click();
  const text = (await page.locator("#revealed-key").innerText()).trim();
  const id = new URL(page.url()).searchParams.get("key")!;
  await checkAccessibility(page);
  await checkWidths(page, "reveal");
  await picture(page, "reveal");
  await page.locator("#reveal-dialog").getByRole("link", { name: "Close", exact: true }).click();
  await expect(page.locator(".reveal-ask")).toBeVisible();
  await checkAccessibility(page);
  await picture(page, "reveal-not-copied");
  await page.locator(".reveal-key").getByRole("button", { name: "Copy" }).click();
  expect((await api(text).get("/me", { "user-agent": "shop-plugin/2.4" })).status()).toBe(200);
  await expect(page.locator(".radar")).toHaveClass(/allowed/);
  await checkAccessibility(page);
  await checkWidths(page, "reveal-called");
  await picture(page, "reveal-called");
  watched.check();
  await page.close();
  // The list of the other pictures stays as it was.
  await shop.by.post("/_fn/api_keys/change", { form: { "ids[]": id, what: "revoke" } });
});

test("a number that waits to be scanned, the secret of an endpoint, and a delivery look right", async ({ browser }) => {
  // An organization of its own: what happens here is told to endpoints, and those of the other pictures lead nowhere.
  const person = await newOrganization("Gasthaus Mur");
  const [context, by] = [await browserOf(browser, person), await signedIn(person)];
  await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: where.url });
  const [waha, receiver] = [await Waha.start("lifelike"), await Receiver.start()];
  const page = await context.newPage();
  const watched = watch(page);
  const seen = async (name: string) => {
    await checkAccessibility(page);
    await checkWidths(page, name);
    await picture(page, name);
  };
  try {
    const { id } = await makeInstance(by, "Reservations", { provider: "waha", waha_url: waha.url, session: "default", api_key: "lifelike" });
    await send(by, "instances/change", { id, what: "connect" });
    await open(page, `${integrationsPath}?panel=connect-instance&id=${id}`);
    await expect(page.getByRole("img", { name: "QR code to scan with WhatsApp" })).toBeVisible();
    await seen("instance-scan");
    waha.scan();
    await expect(page.getByText("+436601234567 is connected.")).toBeVisible();
    await seen("instance-connected");

    await open(page, `${integrationsPath}?panel=new-endpoint`);
    const dialog = page.getByRole("dialog", { name: "Add webhook endpoint" });
    await dialog.getByLabel("URL").fill(receiver.url);
    await dialog.getByRole("button", { name: "Add endpoint" }).click();
    await expect(page.locator("#revealed-secret")).toBeVisible();
    await seen("endpoint-created");
    await page.locator(".reveal-key").getByRole("button", { name: "Copy" }).click();
    await page.getByRole("link", { name: "I’ve Saved the Secret" }).click();
    await page.getByRole("button", { name: "Send test event" }).click();
    await expect(page.getByText("HTTP 200")).toBeVisible({ timeout: 20_000 });
    await seen("delivery");
  } finally {
    await Promise.all([waha.stop(), receiver.stop()]);
  }
  watched.check();
  await context.close();
  await by.dispose();
});

test("an organization without keys is told what to do", async ({ browser }) => {
  const fresh = await browserOf(browser, await newOrganization("Blumen Huber"));
  const page = await fresh.newPage();
  const watched = watch(page);
  await open(page, keysPath);
  await expect(page.getByRole("heading", { name: "No API keys yet" })).toBeVisible();
  await expect(page.getByText("curl ")).toBeVisible();
  await checkAccessibility(page);
  await checkWidths(page, "empty");
  await picture(page, "empty");
  await page.getByRole("link", { name: "Create the first key" }).click();
  await expect(page.getByRole("dialog", { name: "Create New API Key" })).toBeVisible();
  await open(page, integrationsPath);
  await expect(page.getByRole("heading", { name: "No instances yet" })).toBeVisible();
  await expect(page.getByRole("heading", { name: "No webhook endpoints yet" })).toBeVisible();
  await checkAccessibility(page);
  await checkWidths(page, "integrations-empty");
  await picture(page, "integrations-empty");
  watched.check();
  await fresh.close();
});

test("ten thousand keys fit every screen", async ({ browser }) => {
  test.skip(where.external, "the keys are written into the database");
  const person = await newOrganization("Großhandel Enns");
  const [many, by] = [await browserOf(browser, person), await signedIn(person)];
  const name = unique("Terminal");
  await makeKey(by, name, { description: "Reads the stock of the hall in which it stands", allowed_ips: "203.0.113.0/26\n2001:db8:40::/48", throttle_mode: "smart" });
  await sql(
    where.dataDir,
    `insert into api_keys (id, organization_id, name, description, environment, hint, scope_group, scopes, throttle, allowed_ips, rate_limit, created_at, created_by, created_by_name)
     select gen_random_uuid(), organization_id, name || ' ' || n, description, environment, hint, scope_group, scopes, throttle, allowed_ips, rate_limit, created_at - n * interval '1 minute', created_by, created_by_name
     from api_keys, generate_series(1, 9999) n where name = '${name}'`,
  );
  const page = await many.newPage();
  const watched = watch(page);
  const range = page.getByRole("navigation", { name: "Pages" });
  await open(page, `${keysPath}?per_page=50`);
  await expect(page.getByText("10,000 keys")).toBeVisible();
  await expect(range).toContainText("1–50 of 10,000");
  await checkWidths(page, "ten-thousand-keys");
  await page.getByRole("link", { name: "Last page" }).click();
  await expect(range).toContainText("9,951–10,000 of 10,000");
  await expect(page.locator(".keys-table .c-number").last()).toHaveText("10,000");
  await checkWidths(page, "the last of ten thousand keys");
  watched.check();
  await many.close();
  await by.dispose();
});

test("the theme is there with the first paint, and changes at once", async ({ browser }) => {
  const here = await browserOf(browser, shop.owner);
  const page = await here.newPage();
  for (const theme of themes) {
    await chooseTheme(page, theme);
    const html = await (await page.request.get(keysPath, { headers: { accept: "text/html" } })).text();
    expect(html).toMatch(new RegExp(`<html[^>]* data-theme="${theme}"`));
  }
  await chooseTheme(page, "light");
  await open(page, keysPath);
  const ink = () => page.evaluate(() => getComputedStyle(document.querySelector("h1")!).color);
  const light = await ink();
  await page.getByRole("button", { name: "Theme" }).click();
  await page.getByRole("button", { name: "Dark" }).click();
  await expect(page.locator("html")).toHaveAttribute("data-theme", "dark");
  await expect.poll(ink).not.toBe(light);
  await expect.poll(async () => (await here.cookies()).find(({ name }) => name === "theme")?.value).toBe("dark");
  await page.reload();
  await expect(page.locator("html")).toHaveAttribute("data-theme", "dark");
  await here.close();
});

test("on a phone the sidebar is behind a button, and rows are cards", async () => {
  const page = await context.newPage();
  await page.setViewportSize({ width: 360, height: 740 });
  await open(page, keysPath);
  const settingsLink = page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Settings" });
  await expect(settingsLink).toBeHidden();
  await page.getByRole("button", { name: "Menu" }).click();
  await expect(settingsLink).toBeVisible();
  await checkAccessibility(page);
  await picture(page, "menu", [360]);
  await settingsLink.click();
  await expect(page).toHaveURL(/settings\/organization/);
  await expect(settingsLink).toBeHidden();
  await open(page, keysPath);
  const row = rowOf(page, "Warehouse scanner");
  await expect(row.locator(".c-status")).toBeVisible();
  await expect(row.getByRole("button", { name: "Actions for Warehouse scanner" })).toBeVisible();
  expect(await row.evaluate((element) => getComputedStyle(element).display)).not.toBe("table-row");
  await page.close();
});

test("the keyboard: shortcuts, search, new key, palette, and where the focus goes", async () => {
  const page = await context.newPage();
  const watched = watch(page);
  await open(page, keysPath);
  const help = page.getByRole("dialog", { name: "Keyboard shortcuts" });
  await page.keyboard.press("?");
  await expect(help).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(help).toBeHidden();

  await page.keyboard.press("/");
  const search = page.getByRole("searchbox");
  await expect(search).toBeFocused();
  // In a field, letters are letters.
  await page.keyboard.type("n?");
  await expect(search).toHaveValue("n?");
  await expect(page.getByRole("dialog")).toHaveCount(0);
  await search.fill("");
  await expect(page).not.toHaveURL(/q=/);
  await search.blur();

  await page.keyboard.press("n");
  const create = page.getByRole("dialog", { name: "Create New API Key" });
  await expect(create).toBeVisible();
  await expect(create.getByLabel("Key Name")).toBeFocused();
  await page.keyboard.press("Escape");
  await expect(create).toBeHidden();

  await page.keyboard.press("Control+k");
  const palette = page.getByRole("combobox", { name: "Go to a name, an id or a page" });
  await expect(palette).toBeFocused();
  await page.keyboard.type("warehouse");
  await expect(page.getByRole("option", { name: /Warehouse scanner/ })).toHaveAttribute("aria-selected", "true");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("dialog", { name: "Warehouse scanner" })).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(page).not.toHaveURL(/panel=/);
  // An id that was copied from somewhere leads to what it names.
  await page.keyboard.press("Control+k");
  await palette.fill(instance("Rehearsal"));
  await expect(page.getByRole("option", { name: /Rehearsal/ })).toHaveAttribute("aria-selected", "true");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("dialog", { name: "Rehearsal" })).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(page).not.toHaveURL(/panel=/);
  await page.keyboard.press("Control+k");
  await page.keyboard.type("audit");
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(/settings\/audit/);

  // The help says what works where one is.
  await open(page, integrationsPath);
  await page.keyboard.press("?");
  await expect(help).toContainText("New API key");
  await expect(help).not.toContainText("Search this page");
  await page.keyboard.press("Escape");
  await expect(help).toBeHidden();
  await page.keyboard.press("n");
  await expect(create).toBeVisible();
  await expect(page).toHaveURL(/api-keys\?panel=new/);
  await page.keyboard.press("Escape");
  await expect(create).toBeHidden();
  await page.keyboard.press("?");
  await expect(help).toContainText("Search this page");
  await page.keyboard.press("Escape");

  // A menu is walked with arrows; a dialog opened from it gives the focus back to its button.
  await open(page, keysPath);
  const button = page.getByRole("button", { name: "Actions for Zapier leads" });
  await button.focus();
  await page.keyboard.press("Enter");
  const menu = page.getByRole("group", { name: "Actions for Zapier leads" });
  await expect(menu.getByRole("link", { name: "View usage stats" })).toBeFocused();
  await page.keyboard.press("ArrowDown");
  await expect(menu.getByRole("link", { name: "Edit" })).toBeFocused();
  await page.keyboard.press("End");
  await expect(menu.getByRole("link", { name: "Revoke" })).toBeFocused();
  await page.keyboard.press("Enter");
  const question = page.getByRole("alertdialog", { name: "Revoke Zapier leads?" });
  await expect(question.getByRole("link", { name: "Keep key" })).toBeFocused();
  await page.keyboard.press("Escape");
  await expect(question).toBeHidden();
  await expect(button).toBeFocused();
  watched.check();
  await page.close();
});

for (const [what, path] of [["the list", keysPath], ["the create dialog", `${keysPath}?panel=new`], ["the members", `${settings}/members`], ["the profile", `${settings}/profile`]] as const) {
  test(`Tab reaches every control of ${what}, and shows where it is`, async () => {
    const page = await context.newPage();
    await open(page, path);
    await hydrated(page);
    if (path.includes("panel=")) await expect(page.locator("dialog:modal")).toHaveCount(1);
    const wanted = await page.evaluate(() => {
      const scope: ParentNode = document.querySelector("dialog:modal") ?? document;
      const selector = "a[href], button:not(:disabled), input:not(:disabled):not([type=hidden]), select, textarea, summary, [tabindex='0']";
      const all = [...scope.querySelectorAll<HTMLElement>(selector)].filter((element) => element.checkVisibility({ visibilityProperty: true }) && element.tabIndex >= 0);
      // Of radio buttons Tab reaches the chosen one; arrows lead to the others.
      const stops = all.filter((element) => !(element instanceof HTMLInputElement && element.type === "radio" && !element.checked));
      stops.forEach((element, i) => element.setAttribute("data-stop", String(i)));
      (document.activeElement as HTMLElement | null)?.blur();
      return stops.map((element) => element.outerHTML.slice(0, 160));
    });
    expect(wanted.length).toBeGreaterThan(5);
    const reached = new Set<string>();
    const unmarked: string[] = [];
    for (let i = 0; i < wanted.length * 2 + 10 && reached.size < wanted.length; i++) {
      await page.keyboard.press("Tab");
      const stop = await page.evaluate(() => {
        const element = document.activeElement as HTMLElement | null;
        if (!element || element === document.body) return null;
        // Some controls show the focus on the card or label around them.
        let marked = false;
        for (let at: HTMLElement | null = element, up = 0; at && up < 3; at = at.parentElement, up++) {
          const style = getComputedStyle(at);
          const outlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
          marked ||= outlined || (up === 0 && style.boxShadow !== "none");
        }
        return { stop: element.getAttribute("data-stop"), marked, html: element.outerHTML.slice(0, 160) };
      });
      if (!stop) continue;
      if (stop.stop !== null) reached.add(stop.stop);
      if (!stop.marked) unmarked.push(stop.html);
    }
    expect(wanted.filter((_, i) => !reached.has(String(i))), "controls that Tab does not reach").toEqual([]);
    expect(unmarked, "controls that do not show the focus").toEqual([]);
    await page.close();
  });
}
