// Instances and webhook endpoints by hand, against a provider and a receiver that run beside the test.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { Locator, Page } from "@playwright/test";
import { browserOf, card, choose, integrationsPath, join, keysPath, makeEndpoint, makeInstance, makeKey, newOrganization, newPerson, send, signedIn, step, toast } from "../support/console";
import { type Api, expect, open, test, unique, watch } from "../support/fixtures";
import { Receiver, Waha, verify } from "../support/outside";
import * as where from "../support/where";

/** The row of a table that names an instance or a URL. */
const rowOf = (page: Page, name: string): Locator => page.locator(".integrations tbody tr").filter({ has: page.locator(".key-name", { hasText: name }) });

/** Sends a text by the public API, as the cURL line of the page does. */
async function sendText(by: Api, instanceId: string, to: string, message = "Your order is on its way."): Promise<string> {
  const answer = await by.post("/messages/send", { instanceId, to, message });
  expect(answer.status(), await answer.text()).toBe(202);
  return ((await answer.json()) as { id: string }).id;
}

async function statusOf(by: Api, message: string): Promise<string> {
  const answer = await by.get(`/messages/${message}`);
  expect(answer.status()).toBe(200);
  return ((await answer.json()) as { status: string }).status;
}

const patiently = { timeout: 20_000, intervals: [200] };

test("a sandbox instance, from the first message to its end", async ({ page, goto, api, context, complaints }) => {
  // Forms with mistakes in them.
  complaints.allowStatus(422);
  await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: where.url });
  const name = unique("Rehearsal");
  const key = await makeKey(page.request, unique("Shop"));
  const shop = api(key.key);
  await goto(integrationsPath);

  // A name is needed.
  await page.getByRole("link", { name: /^Add (the first )?instance$/ }).click();
  const dialog = page.getByRole("dialog", { name: "Add instance" });
  await dialog.getByRole("button", { name: "Add instance" }).click();
  await expect(dialog.locator("#instance-name-note")).toContainText("Give the instance a name");
  await expect(dialog.getByLabel("Name", { exact: true })).toBeFocused();
  await dialog.getByLabel("Name", { exact: true }).fill(name);
  // Only the fields of the chosen provider show.
  await card(dialog, "WAHA");
  await expect(dialog.getByLabel("Session")).toBeVisible();
  await expect(dialog.getByLabel("App secret")).toBeHidden();
  await card(dialog, "Sandbox");
  await expect(dialog.getByLabel("Session")).toBeHidden();
  await dialog.getByRole("button", { name: "Add instance" }).click();

  const sheet = page.getByRole("dialog", { name });
  await expect(sheet).toBeVisible();
  await expect(page).toHaveURL(/panel=instance&id=ins_[0-9a-z]+/);
  const id = new URL(page.url()).searchParams.get("id")!;
  await expect(sheet.getByText("Connected", { exact: true })).toBeVisible();
  await expect(sheet.getByText(`"instanceId":"${id}"`)).toBeVisible();
  await expect(sheet.getByText("Nothing waits.")).toBeVisible();

  // The page's own call, typed into a shell with the key in its place, is read.
  const call = (await sheet.locator("#instance-call").innerText()).replace("YOUR_KEY", key.key);
  const { stdout } = await promisify(execFile)("bash", ["-euo", "pipefail", "-c", call]);
  const typed = (JSON.parse(stdout) as { id: string }).id;
  await expect.poll(() => statusOf(shop, typed), patiently).toBe("read");

  // Held up, messages wait in order; each can be cancelled.
  await sheet.getByRole("button", { name: "Pause queue" }).click();
  await toast(page, "Queue paused");
  await expect(sheet.getByText(/Paused by \S+@/)).toBeVisible();
  const [first, second, third] = [await sendText(shop, id, "+436601230001"), await sendText(shop, id, "+436601230009"), await sendText(shop, id, "+436601230002")];
  const waiting = sheet.getByRole("list", { name: "Waiting messages" }).getByRole("listitem");
  await page.reload();
  await expect(page.locator("html")).toHaveAttribute("data-hydrated", "true");
  await expect(waiting).toHaveCount(3);
  await expect(waiting.first()).toContainText("+436601230001");
  await expect(waiting.first()).toContainText("when the queue goes on");
  await sheet.getByRole("button", { name: "Actions for the message to +436601230009" }).click();
  await sheet.getByRole("button", { name: "Cancel message" }).and(page.locator(":visible")).click();
  await toast(page, "Message cancelled");
  await expect(waiting).toHaveCount(2);
  expect(await statusOf(shop, second)).toBe("cancelled");
  // The last one first.
  await sheet.getByRole("button", { name: "Actions for the message to +436601230002" }).click();
  await sheet.getByRole("button", { name: "Send now" }).and(page.locator(":visible")).click();
  await toast(page, "The message is next");
  await expect(waiting.first()).toContainText("+436601230002");
  await expect(sheet.getByText("Waiting", { exact: true }).locator("xpath=..")).toContainText("2");

  // Let go on, they leave; what became of them is shown.
  await sheet.getByRole("button", { name: "Resume queue" }).click();
  await toast(page, "Queue goes on");
  await expect.poll(() => statusOf(shop, first), patiently).toBe("read");
  await expect.poll(() => statusOf(shop, third), patiently).toBe("failed");
  await expect(sheet.getByText("Nothing waits.")).toBeVisible();
  await sheet.getByRole("link", { name: "Close" }).click();
  await expect(sheet).toBeHidden();
  await page.reload();
  await expect(rowOf(page, name)).toContainText("131026");
  await expect(rowOf(page, name)).toContainText("Empty");

  // Another name, and the end.
  await open(page, integrationsPath);
  await choose(page, name, "Edit");
  const edit = page.getByRole("dialog", { name: `Edit ${name}` });
  await edit.getByLabel("Name", { exact: true }).fill(`${name} Graz`);
  // What was typed is not lost by mistake.
  await page.keyboard.press("Escape");
  await expect(edit.getByText("Close without saving?")).toBeVisible();
  await edit.getByRole("button", { name: "Keep editing" }).click();
  await edit.getByRole("button", { name: "Save changes" }).click();
  await toast(page, "Instance saved");
  await expect(rowOf(page, `${name} Graz`)).toBeVisible();

  await choose(page, `${name} Graz`, "Pause queue");
  await toast(page, "Queue paused");
  await expect(rowOf(page, name)).toContainText("Paused by hand");
  await sendText(shop, id, "+436601230001");
  await choose(page, `${name} Graz`, "Delete");
  const question = page.getByRole("alertdialog", { name: `Delete ${name} Graz?` });
  await expect(question).toContainText("1 message waits on it and will be cancelled.");
  await expect(question.getByRole("link", { name: "Keep instance" })).toBeFocused();
  await question.getByRole("button", { name: "Delete instance" }).click();
  await toast(page, "Instance deleted, and 1 message cancelled");
  await expect(rowOf(page, name)).toHaveCount(0);
  expect((await shop.post("/messages/send", { instanceId: id, to: "+436601230001", message: "x" })).status()).toBe(404);
});

test("a WAHA number is connected by its QR code, sends, and is disconnected", async ({ page, goto, api, complaints }) => {
  complaints.allowStatus(422);
  const waha = await Waha.start("waha-key-1");
  try {
    const name = unique("Support");
    await goto(`${integrationsPath}?panel=new-instance`);
    const dialog = page.getByRole("dialog", { name: "Add instance" });
    await dialog.getByLabel("Name", { exact: true }).fill(name);
    await card(dialog, "WAHA");
    await dialog.getByLabel("Server address").and(page.locator(":visible")).fill("ftp://waha");
    await dialog.getByRole("button", { name: "Add instance" }).click();
    await expect(dialog.locator("#instance-waha-url-note")).toContainText("http");
    await dialog.getByLabel("Server address").and(page.locator(":visible")).fill(waha.url);
    await dialog.getByLabel("API key").fill("waha-key-1");
    await dialog.getByRole("button", { name: "Add instance" }).click();

    const connect = page.getByRole("dialog", { name: `Connect ${name}` });
    await expect(connect.getByText("Disconnected", { exact: true })).toBeVisible();
    await connect.getByRole("button", { name: "Connect" }).click();
    await expect(connect.getByRole("img", { name: "QR code to scan with WhatsApp" })).toBeVisible();
    // WAHA was told where to report to, and with which secret to sign.
    expect(waha.config).toMatchObject({ webhooks: [{ url: expect.stringMatching(/\/hooks\/waha\/ins_[0-9a-z]+$/), hmac: { key: expect.stringMatching(/^[0-9A-Za-z]{64}$/) } }] });
    // The code changes every few seconds; the page follows.
    const before = waha.asked;
    await expect.poll(() => waha.asked, patiently).toBeGreaterThan(before + 1);
    waha.scan();
    await expect(connect.getByText("Connected", { exact: true })).toBeVisible({ timeout: 10_000 });
    await expect(connect.getByText("+436601234567 is connected.")).toBeVisible();
    await expect(connect.getByRole("img", { name: "QR code to scan with WhatsApp" })).toBeHidden();
    await connect.getByRole("link", { name: "Done" }).click();
    await expect(rowOf(page, name)).toContainText("Connected");
    await expect(rowOf(page, name)).toContainText("+436601234567");

    const id = (await rowOf(page, name).locator(".key-name a").getAttribute("href"))!.match(/ins_[0-9a-z]+/)![0];
    const key = await makeKey(page.request, unique("Waha shop"));
    await sendText(api(key.key), id, "+4366012399", "Servus");
    await expect.poll(() => waha.sent, patiently).toEqual([{ chatId: "4366012399@c.us", text: "Servus" }]);

    // Credentials are never shown again, and stay when they are left empty.
    await open(page, `${integrationsPath}?panel=edit-instance&id=${id}`);
    expect(await page.content()).not.toContain("waha-key-1");
    const edit = page.getByRole("dialog", { name: `Edit ${name}` });
    await expect(edit.getByText("Is set. Leave empty to keep it.")).toBeVisible();
    await edit.getByRole("button", { name: "Save changes" }).click();
    await toast(page, "Instance saved");
    // At another address they have to be given again.
    await open(page, `${integrationsPath}?panel=edit-instance&id=${id}`);
    await edit.getByLabel("Server address").fill("http://127.0.0.1:9");
    await edit.getByRole("button", { name: "Save changes" }).click();
    await expect(edit.locator("#instance-api-key-note")).toContainText("The address has changed");

    await open(page, `${integrationsPath}?panel=connect-instance&id=${id}`);
    await connect.getByRole("button", { name: "Disconnect" }).click();
    await toast(page, "Disconnected");
    await expect(connect.locator("span").filter({ hasText: /^Disconnected$/ })).toBeVisible();
    await connect.getByRole("link", { name: "Later" }).click();
    await expect(rowOf(page, name)).toContainText("Paused while not connected");
  } finally {
    await waha.stop();
  }
});

test("a Cloud API number shows once what Meta has to be told", async ({ page, goto, context, complaints }) => {
  complaints.allowStatus(422);
  await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: where.url });
  const name = unique("Newsletter");
  await goto(`${integrationsPath}?panel=new-instance`);
  const dialog = page.getByRole("dialog", { name: "Add instance" });
  await dialog.getByLabel("Name", { exact: true }).fill(name);
  await card(dialog, "WhatsApp Cloud API");
  await dialog.getByLabel("Phone number id").fill("106540352242922");
  await dialog.getByRole("button", { name: "Add instance" }).click();
  await expect(dialog.locator("#instance-business-account-id-note")).toContainText(/^Meta.s id of the WhatsApp Business account/);
  await dialog.getByLabel("Business account id").fill("102290129340398");
  await dialog.getByLabel("Access token").fill("EAAG-token");
  await dialog.getByLabel("App secret").fill("app-secret-0123");
  // A verify token is suggested.
  const token = await dialog.getByLabel("Verify token").inputValue();
  expect(token).toMatch(/^[0-9a-f]{32}$/);
  // Nothing must leave for the real Meta.
  await dialog.getByLabel("Server address").and(page.locator(":visible")).fill("http://127.0.0.1:9");
  await dialog.getByRole("button", { name: "Add instance" }).click();

  const connect = page.getByRole("dialog", { name: `Connect ${name}` });
  await expect(connect.locator("#hook-url")).toHaveText(new RegExp(`^${where.url}/hooks/cloud-api/ins_[0-9a-z]+$`));
  await expect(connect.locator("#verify-token")).toHaveText(token);
  await connect.getByRole("button", { name: "Copy address" }).click();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toContain("/hooks/cloud-api/ins_");
  await expect(connect.getByRole("button", { name: "Check connection" })).toBeVisible();
  await page.reload();
  await expect(connect.getByText("It is set and cannot be shown.")).toBeVisible();
  expect(await page.content()).not.toContain(token);
});

test("a provider that cannot be reached is a sentence, not an error page", async ({ page, goto, complaints }) => {
  complaints.allowStatus(409);
  const { id, name } = await makeInstance(page.request, unique("Nowhere"), { provider: "waha", waha_url: "http://127.0.0.1:9", session: "default" });
  await goto(`${integrationsPath}?panel=connect-instance&id=${id}`);
  const connect = page.getByRole("dialog", { name: `Connect ${name}` });
  await connect.getByRole("button", { name: "Connect" }).click();
  await toast(page, "refused the connection");
});

test("a webhook endpoint hears of messages, signed; its secret is rotated; it is disabled and deleted", async ({ page, goto, api, context, complaints }) => {
  // Forms with mistakes in them.
  complaints.allowStatus(422);
  await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: where.url });
  const receiver = await Receiver.start();
  try {
    const mark = unique("hook").replace(" ", "-");
    const url = `${receiver.url}/${mark}`;
    await goto(integrationsPath);
    await page.getByRole("link", { name: /Add (the first )?endpoint/ }).click();
    const dialog = page.getByRole("dialog", { name: "Add webhook endpoint" });
    await dialog.getByLabel("URL").fill("http://10.0.0.1/hook");
    await dialog.getByRole("button", { name: "Add endpoint" }).click();
    await expect(dialog.locator("#endpoint-url-note .error")).toBeVisible();
    await dialog.getByLabel("URL").fill(url);
    await dialog.getByLabel("Description").fill("Order tracking");
    // All events at first; then one family and one more.
    await dialog.getByRole("checkbox", { name: /^All events/ }).uncheck();
    await dialog.getByRole("button", { name: "Add endpoint" }).click();
    await expect(dialog.getByText("Choose at least one event, or * for all.")).toBeVisible();
    await dialog.getByRole("checkbox", { name: /message\.\*/ }).check();
    await expect(dialog.getByRole("checkbox", { name: /^message\.sent/ })).toBeHidden();
    await dialog.getByRole("checkbox", { name: /^instance\.status/ }).check();
    await dialog.getByText("Advanced settings").click();
    await dialog.getByLabel("Custom headers").fill("X-Shop: graz");
    await dialog.getByRole("button", { name: "Add endpoint" }).click();

    const reveal = page.getByRole("dialog", { name: /^Endpoint added/ });
    const secret = (await reveal.locator("#revealed-secret").innerText()).trim();
    expect(secret).toMatch(/^whsec_[0-9A-Za-z+/=]{44}$/);
    // Closing without having copied asks once.
    await page.keyboard.press("Escape");
    await expect(reveal.locator(".reveal-ask")).toBeVisible();
    await reveal.locator(".reveal-key").getByRole("button", { name: "Copy" }).click();
    expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(secret);
    await reveal.getByRole("link", { name: "I’ve Saved the Secret" }).click();

    const sheet = page.getByRole("dialog", { name: new RegExp(mark) });
    await expect(sheet).toContainText("None yet. Send a test event to see one.");
    const id = new URL(page.url()).searchParams.get("id")!;

    // A test event, and its answer, live.
    await sheet.getByRole("button", { name: "Send test event" }).click();
    const ping = page.getByRole("dialog", { name: "test.ping" });
    await expect(ping.getByText("Delivered", { exact: true })).toBeVisible({ timeout: 20_000 });
    await expect(ping.getByText("HTTP 200")).toBeVisible();
    await expect(ping.getByText('{"heard":1}')).toBeVisible();
    expect(receiver.of("test.ping")).toHaveLength(1);
    const heard = receiver.of("test.ping")[0]!;
    expect(verify(secret, heard)).toEqual({ fits: true, signatures: 1 });
    expect(heard.headers["x-shop"]).toBe("graz");
    expect(await page.content(), "values of headers are not shown").not.toContain("X-Shop: graz");

    // What happens to a message arrives, signed.
    const { id: instance } = await makeInstance(page.request, unique("Hooked"));
    const key = await makeKey(page.request, unique("Hook shop"));
    const message = await sendText(api(key.key), instance, "+436601230001");
    const about = (type: string) => receiver.of(type).filter(({ event }) => event.data.id === message);
    for (const type of ["message.queued", "message.sent", "message.delivered", "message.read"]) {
      await expect.poll(() => about(type).length, { ...patiently, message: type }).toBe(1);
      expect(verify(secret, about(type)[0]!), type).toEqual({ fits: true, signatures: 1 });
    }

    // A new secret: for a day both sign.
    await open(page, `${integrationsPath}?panel=rotate-endpoint&id=${id}`);
    await page.getByRole("dialog", { name: "Rotate the signing secret?" }).getByRole("button", { name: "Rotate secret" }).click();
    const rotated = page.getByRole("dialog", { name: /^Secret rotated/ });
    const fresh = (await rotated.locator("#revealed-secret").innerText()).trim();
    expect(fresh).not.toBe(secret);
    await expect(rotated).toContainText("Both secrets sign until");
    await rotated.locator(".reveal-key").getByRole("button", { name: "Copy" }).click();
    await rotated.getByRole("link", { name: "I’ve Saved the Secret" }).click();
    await sheet.getByRole("button", { name: "Send test event" }).click();
    await expect.poll(() => receiver.of("test.ping").length, patiently).toBe(2);
    const both = receiver.of("test.ping")[1]!;
    expect(verify(secret, both)).toEqual({ fits: true, signatures: 2 });
    expect(verify(fresh, both)).toEqual({ fits: true, signatures: 2 });

    // A failure is shown with its answer, and can be sent again.
    receiver.status = 500;
    await open(page, `${integrationsPath}?panel=endpoint&id=${id}`);
    await sheet.getByRole("button", { name: "Send test event" }).click();
    await expect(ping.getByText("HTTP 500").first()).toBeVisible({ timeout: 20_000 });
    receiver.status = 200;
    await ping.getByRole("button", { name: "Resend" }).click();
    await toast(page, "The delivery is sent again");
    await expect(ping.getByText("Delivered", { exact: true })).toBeVisible({ timeout: 20_000 });
    const pings = receiver.of("test.ping");
    expect(pings.at(-1)!.headers["webhook-id"], "the id is the event's").toBe(pings.at(-2)!.headers["webhook-id"]);
    await ping.getByRole("link", { name: "Endpoint", exact: true }).click();
    await expect(sheet.locator(".deliveries li").first()).toContainText("Delivered");

    // Another server is not told the values of headers that were given for this one.
    await sheet.getByRole("link", { name: "Edit", exact: true }).click();
    const edit = page.getByRole("dialog", { name: "Edit webhook endpoint" });
    await edit.getByLabel("URL").fill("https://elsewhere.example/hook");
    await edit.getByRole("button", { name: "Save changes" }).click();
    await expect(edit.locator("#endpoint-headers-note")).toContainText("X-Shop: The address has changed: give the value again.");
    await edit.getByLabel("URL").fill(url);
    await edit.getByLabel("Description").fill("Orders and their tracking");
    await edit.getByRole("button", { name: "Save changes" }).click();
    await toast(page, "Endpoint saved");
    await open(page, `${integrationsPath}?panel=endpoint&id=${id}`);
    await sheet.getByRole("button", { name: "Send test event" }).click();
    await expect.poll(() => receiver.of("test.ping").length, patiently).toBe(pings.length + 1);
    expect(receiver.of("test.ping").at(-1)!.headers["x-shop"]).toBe("graz");
    await ping.getByRole("link", { name: "Endpoint", exact: true }).click();

    // Disabled, it hears nothing.
    await sheet.getByRole("button", { name: "Disable" }).click();
    await toast(page, "Endpoint disabled");
    await expect(sheet.getByText("Somebody disabled it.").last()).toBeVisible();
    const before = receiver.received.length;
    await sendText(api(key.key), instance, "+436601230001");
    await sheet.getByRole("button", { name: "Enable" }).click();
    await toast(page, "Endpoint enabled");
    await sheet.getByRole("link", { name: "Close" }).click();
    await expect(rowOf(page, mark)).toContainText("message.*");
    // Other tests of the organization may send meanwhile.
    const queued = receiver.received.slice(before).filter(({ event }) => event.type === "message.queued" && event.data.instanceId === instance);
    expect(queued).toEqual([]);

    await choose(page, url, "Delete");
    const question = page.getByRole("alertdialog", { name: "Delete this endpoint?" });
    await expect(question).toContainText(url);
    await question.getByRole("button", { name: "Delete endpoint" }).click();
    await toast(page, "Endpoint deleted");
    await expect(rowOf(page, mark)).toHaveCount(0);
  } finally {
    await receiver.stop();
  }
});

test("a viewer looks, with numbers masked, and changes nothing", async ({ browser, api }) => {
  const owner = await newOrganization(unique("Masked"));
  const by = await signedIn(owner);
  const { id, name } = await makeInstance(by, unique("Shown"));
  const endpoint = await makeEndpoint(by, "https://shop.example/hooks/bouncer");
  await send(by, "instances/change", { id, what: "pause" });
  const key = await makeKey(by, unique("Viewer shop"));
  await sendText(api(key.key), id, "+436601230001");
  const viewer = newPerson("Vera");
  (await join(by, viewer, "viewer")).dispose();

  const context = await browserOf(browser, viewer);
  const page = await context.newPage();
  const watched = watch(page);
  await open(page, integrationsPath);
  await expect(rowOf(page, name)).toBeVisible();
  await expect(page.getByRole("link", { name: /^Add/ })).toHaveCount(0);
  await choose(page, name, "Details and queue");
  const sheet = page.getByRole("dialog", { name });
  await expect(sheet.getByRole("list", { name: "Waiting messages" })).toContainText("+436•••••••01");
  expect(await page.content()).not.toContain("436601230001");
  await expect(sheet.getByRole("button", { name: /queue|Actions for the message/ })).toHaveCount(0);
  watched.check();

  // Neither by address nor by hand.
  watched.allowStatus(403);
  await open(page, `${integrationsPath}?panel=edit-instance&id=${id}`);
  await expect(page.getByRole("dialog")).toContainText("Your role is Viewer.");
  await open(page, `${integrationsPath}?panel=endpoint&id=${endpoint.id}`);
  await expect(page.getByRole("button", { name: "Send test event" })).toHaveCount(0);
  for (const [action, fields] of [["instances/change", { id, what: "resume" }], ["webhooks/change", { id: endpoint.id, what: "delete" }], ["webhooks/test", { id: endpoint.id }]] as const) {
    expect((await send(context.request, action, fields)).status(), action).toBe(403);
  }
  await context.close();
  await by.dispose();
});

test("another organization’s instances and endpoints are not there", async ({ page }) => {
  const { id } = await makeInstance(page.request, unique("Ours"));
  const endpoint = await makeEndpoint(page.request, "https://shop.example/ours");
  const stranger = await signedIn(await newOrganization(unique("Strangers")));
  for (const [action, fields] of [
    ["instances/change", { id, what: "delete" }],
    ["instances/change", { id, what: "connect" }],
    ["instances/edit", { id, form: { name: "Taken over" } }],
    ["webhooks/change", { id: endpoint.id, what: "delete" }],
    ["webhooks/rotate", { id: endpoint.id }],
    ["webhooks/test", { id: endpoint.id }],
  ] as const) {
    expect((await send(stranger, action, fields)).status(), action).toBe(404);
  }
  await stranger.dispose();
});

test("a key with an API secret, restricted to one instance", async ({ page, goto, context, playwright }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: where.url });
  const { id: allowed, name: allowedName } = await makeInstance(page.request, unique("Allowed"));
  const { id: other } = await makeInstance(page.request, unique("Other"));
  const name = unique("Careful");
  await goto(`${keysPath}?panel=new`);
  const dialog = page.getByRole("dialog", { name: "Create New API Key" });
  await dialog.getByLabel("Key Name").fill(name);
  await step(dialog, "Permissions");
  await dialog.getByText("Advanced settings").click();
  await card(dialog, "Some");
  await dialog.getByLabel("Issue an API secret").check();
  await dialog.getByRole("button", { name: "Create API Key" }).click();
  await expect(dialog.getByText("Choose at least one instance, or allow all.")).toBeVisible();
  await dialog.getByRole("checkbox", { name: allowedName }).check();
  await dialog.getByRole("button", { name: "Create API Key" }).click();

  const reveal = page.getByRole("dialog", { name: new RegExp(`Key created · ${name}`) });
  const key = (await reveal.locator("#revealed-key").innerText()).trim();
  const secret = (await reveal.locator("#revealed-secret").innerText()).trim();
  expect(secret).toMatch(/^bnc_secret_/);
  const id = new URL(page.url()).searchParams.get("key")!;
  const program = await playwright.request.newContext({ storageState: { cookies: [], origins: [] } });
  const sendTo = async (instanceId: string, extra: Record<string, string>) =>
    (await program.post(`${where.url}/api/v1/messages/send`, { data: { instanceId, to: "+436601230001", message: "x" }, headers: { authorization: `Bearer ${key}`, ...extra } })).status();
  expect(await sendTo(allowed, {})).toBe(401);
  expect(await sendTo(allowed, { "x-api-secret": secret })).toBe(202);
  expect(await sendTo(other, { "x-api-secret": secret })).toBe(404);

  // The one is copied, the other is asked for.
  await reveal.locator(".reveal-key").first().getByRole("button", { name: "Copy" }).click();
  await expect.poll(() => page.evaluate(() => navigator.clipboard.readText())).toBe(key);
  await page.keyboard.press("Escape");
  await expect(reveal.getByRole("alert")).toContainText("You have not copied the API secret yet.");
  await expect(reveal).toBeVisible();
  await reveal.locator(".reveal-secret").getByRole("button", { name: "Copy" }).click();
  await expect(reveal.getByRole("alert")).toBeHidden();

  // Replaced, then removed.
  await reveal.getByRole("link", { name: "I’ve Saved My Key" }).click();
  await open(page, `${keysPath}?panel=edit&key=${id}`);
  const edit = page.getByRole("dialog", { name: `Edit ${name}` });
  await step(edit, "Permissions");
  await edit.getByRole("button", { name: "Replace API secret" }).click();
  const issued = page.getByRole("dialog", { name: new RegExp(`API secret issued · ${name}`) });
  const fresh = (await issued.locator("#revealed-secret").innerText()).trim();
  expect(fresh).not.toBe(secret);
  await expect.poll(() => sendTo(allowed, { "x-api-secret": secret }), { timeout: 2_000 }).toBe(401);
  expect(await sendTo(allowed, { "x-api-secret": fresh })).toBe(202);
  await issued.locator(".reveal-secret").getByRole("button", { name: "Copy" }).click();
  await issued.getByRole("link", { name: "I’ve Saved My Key" }).click();
  await open(page, `${keysPath}?panel=edit&key=${id}`);
  await step(edit, "Permissions");
  await edit.getByRole("button", { name: "Remove", exact: true }).click();
  await toast(page, "API secret removed");
  await expect.poll(() => sendTo(allowed, {}), { timeout: 2_000 }).toBe(202);
  await program.dispose();
});
