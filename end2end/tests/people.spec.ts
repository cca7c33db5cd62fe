// Who may come in, as whom, and how they are shown out.
import type { Page } from "@playwright/test";
import { browserOf, card, countKeys, invite, join, keysPath, listOf, makeKey, newOrganization, newPerson, rowOf, signedIn, signInByHand, statusOf, stranger, toast } from "../support/console";
import { expect, hydrated, open, test, unique, watch } from "../support/fixtures";
import { organization, owner, password } from "../support/people";

const members = "/dashboard/settings/members";

/** The row of a table of settings. */
const line = (page: Page, text: string) => page.locator("table tbody tr").filter({ hasText: text });

test("a wrong password, the way back, and signing out", async ({ browser }) => {
  const context = await browser.newContext({ storageState: { cookies: [], origins: [] } });
  const page = await context.newPage();
  const watched = watch(page);
  watched.allowStatus(422);
  const wanted = "/dashboard/settings/audit?action=api_key.created";
  await open(page, wanted);
  await expect(page).toHaveURL(/\/sign-in\?next=/);
  await signInByHand(page, { ...owner, password: "not the password at all" });
  await expect(page.getByText("The e-mail address or the password is not right.")).toBeVisible();
  await expect(page.getByLabel("E-mail address")).toHaveValue(owner.email);
  // The same words for somebody who is not known.
  await signInByHand(page, { ...owner, email: "nobody@acme.example" });
  await expect(page.getByText("The e-mail address or the password is not right.")).toBeVisible();
  await signInByHand(page);
  await expect(page).toHaveURL(new RegExp(`${wanted.replace("?", "\\?")}$`));
  await hydrated(page);

  // Who is signed in need not sign in.
  await page.goto("/sign-in");
  await expect(page).toHaveURL(new RegExp(`${keysPath}$`));
  await hydrated(page);
  const [cookie] = await context.cookies();
  await page.getByRole("button", { name: "Sign out" }).click();
  await expect(page).toHaveURL(/\/sign-in/);
  // The old cookie is worth nothing, whoever kept it.
  await context.addCookies([cookie!]);
  await page.goto(keysPath);
  await expect(page).toHaveURL(/\/sign-in\?next=/);
  watched.check();
  await context.close();
});

test("nobody is sent to another site after signing in", async ({ browser }) => {
  for (const next of ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)"]) {
    const context = await browser.newContext({ storageState: { cookies: [], origins: [] } });
    const page = await context.newPage();
    await open(page, `/sign-in?next=${encodeURIComponent(next)}`);
    await signInByHand(page);
    await expect(page, next).toHaveURL(new RegExp(`^http://127\\.0\\.0\\.1:\\d+${keysPath}$`));
    await context.close();
  }
});

test("guessing is slowed down", async ({ request }) => {
  const person = newPerson("Guessed");
  const admin = await signedIn();
  (await join(admin, person, "viewer")).dispose();
  const guess = (text: string) =>
    request.post("/_fn/session/sign_in", {
      form: { email: person.email, password: text },
      headers: { accept: "application/json" },
    });
  for (let i = 0; i < 10; i++) expect((await guess(`wrong password ${i}`)).status()).toBe(422);
  const refused = await guess(person.password);
  expect(refused.status(), "the right password after ten wrong ones").toBe(429);
  expect(Number(refused.headers()["retry-after"])).toBeGreaterThan(0);
  await admin.dispose();
});

test("an invitation by link: the invited one joins, is promoted, and is removed; their keys stay", async ({ page, goto, browser }) => {
  const person = newPerson("Grace Hopper");
  await goto(members);
  await page.getByRole("link", { name: "Invite member" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("E-mail address").fill(person.email);
  await expect(dialog.getByRole("radio", { name: /^Developer/ })).toBeChecked();
  await dialog.getByRole("button", { name: "Make invitation" }).click();
  await expect(dialog).toContainText("It is shown only now, works once, and ends in seven days.");
  const link = (await dialog.locator("#invitation-url").innerText()).trim();
  await dialog.getByRole("link", { name: "Done" }).click();
  await expect(line(page, person.email)).toContainText("Developer");

  // Somebody else's browser.
  const context = await browser.newContext({ storageState: { cookies: [], origins: [] } });
  const theirs = await context.newPage();
  const watched = watch(theirs);
  await open(theirs, link);
  await expect(theirs.getByRole("heading", { level: 1 })).toHaveText(`Join ${organization}`);
  await expect(theirs.getByText(`invites ${person.email} as Developer`)).toBeVisible();
  watched.allowStatus(422);
  await theirs.getByLabel("Your name").fill(person.name);
  await theirs.getByLabel("Choose a password").fill("short");
  await theirs.getByRole("button", { name: "Join" }).click();
  await expect(theirs.getByText("Use at least 12 characters.")).toBeVisible();
  await expect(theirs.getByLabel("Your name")).toHaveValue(person.name);
  await theirs.getByLabel("Choose a password").fill("password1234");
  await theirs.getByRole("button", { name: "Join" }).click();
  await expect(theirs.locator("#password-note .error")).toBeVisible();
  await theirs.getByLabel("Choose a password").fill(person.password);
  await theirs.getByRole("button", { name: "Join" }).click();
  await expect(theirs).toHaveURL(new RegExp(`${keysPath}$`));
  await hydrated(theirs);
  await expect(theirs.locator(".me")).toContainText(person.email);

  // The link works once.
  const late = await browser.newContext({ storageState: { cookies: [], origins: [] } });
  const latePage = await late.newPage();
  await open(latePage, link);
  await expect(latePage.getByText("This invitation is over")).toBeVisible();
  await late.close();

  const name = unique("Grace’s key");
  const { key } = await makeKey(theirs.request, name);
  await open(page, members);
  const row = line(page, person.email);
  await expect(row).toContainText(person.name);
  await expect(row.locator("td.num")).toHaveText("1");

  // Developers do not see what only admins do; admins do.
  await open(theirs, members);
  await expect(theirs.getByRole("link", { name: "Invite member" })).toHaveCount(0);
  await row.getByRole("button", { name: `Actions for ${person.name}` }).click();
  await page.getByRole("link", { name: "Change role" }).click();
  await card(page, "Admin");
  await page.getByRole("button", { name: "Change role" }).click();
  await toast(page, "Role changed");
  await expect(row).toContainText("Admin");
  await open(theirs, members);
  await expect(theirs.getByRole("link", { name: "Invite member" })).toBeVisible();
  // But no admin touches an owner.
  await expect(theirs.getByRole("button", { name: `Actions for ${owner.name}` })).toHaveCount(0);

  await row.getByRole("button", { name: `Actions for ${person.name}` }).click();
  await page.getByRole("link", { name: "Remove" }).click();
  const question = page.getByRole("alertdialog", { name: `Remove ${person.name}?` });
  await expect(question).toContainText("The key they created stays");
  await expect(question).toContainText("Invitations that they made and nobody has accepted yet are withdrawn.");
  await expect(question.getByRole("link", { name: "Keep member" })).toBeFocused();
  await question.getByRole("button", { name: "Remove member" }).click();
  await toast(page, "Member removed. Their keys stay.");
  await expect(row).toHaveCount(0);

  // Out with the next click; the key goes on.
  watched.allowStatus(401);
  await theirs.goto(members);
  await expect(theirs).toHaveURL(/\/sign-in/);
  const program = await stranger();
  expect(await statusOf(program, key)).toBe(200);
  await program.dispose();
  await open(page, listOf(name));
  await expect(rowOf(page, name).locator(".c-created")).toContainText(person.email);
  watched.check();
  await context.close();
});

test("an invitation can be withdrawn", async ({ page, goto, browser }) => {
  const person = newPerson("Withdrawn");
  const link = await invite(page.request, person.email, "admin");
  await goto(members);
  await page.getByRole("button", { name: `Actions for ${person.email}` }).click();
  await page.getByRole("button", { name: "Withdraw invitation" }).click();
  await toast(page, "Invitation withdrawn");
  await expect(line(page, person.email)).toHaveCount(0);
  const context = await browser.newContext({ storageState: { cookies: [], origins: [] } });
  const theirs = await context.newPage();
  await open(theirs, link);
  await expect(theirs.getByText("This invitation is over")).toBeVisible();
  await context.close();
});

test("a viewer looks and changes nothing", async ({ page, browser }) => {
  const person = newPerson("Viewer");
  await join(page.request, person, "viewer").then((request) => request.dispose());
  const name = unique("Looked at");
  const { id } = await makeKey(page.request, name);
  const context = await browserOf(browser, person);
  const theirs = await context.newPage();
  const watched = watch(theirs);
  await open(theirs, listOf(name));
  await expect(rowOf(theirs, name)).toHaveCount(1);
  for (const control of ["Create API Key", "Regenerate", "Edit"]) await expect(theirs.getByRole("link", { name: control })).toHaveCount(0);
  await expect(theirs.getByRole("button", { name: /^Actions for/ })).toHaveCount(0);
  await expect(theirs.getByRole("checkbox")).toHaveCount(0);
  await rowOf(theirs, name).getByRole("link", { name, exact: true }).click();
  const sheet = theirs.getByRole("dialog", { name });
  await expect(sheet).toContainText("Calls in 30 days");
  await expect(sheet.getByRole("link", { name: "Edit" })).toHaveCount(0);
  watched.allowStatus(403);
  for (const panel of ["new", `edit&key=${id}`, `revoke&key=${id}`, `regenerate&key=${id}`]) {
    const answer = await open(theirs, `${keysPath}?panel=${panel}`);
    expect(answer?.status(), panel).toBe(403);
    await expect(theirs.getByRole("dialog")).toContainText("Your role is Viewer.");
  }
  await open(theirs, "/dashboard/settings/organization");
  await expect(theirs.getByText("Admins and owners can change the name.")).toBeVisible();
  watched.check();
  await context.close();
});

test("the profile: name, password, sessions", async ({ page, browser }) => {
  const person = newPerson("Linus");
  await join(page.request, person, "developer").then((request) => request.dispose());
  const first = await browserOf(browser, person);
  const second = await browserOf(browser, person);
  const mine = await first.newPage();
  const watched = watch(mine);
  await open(mine, "/dashboard/settings/profile");
  const renamed = `${person.name} II`;
  await mine.getByLabel("Name", { exact: true }).fill(renamed);
  await mine.getByRole("button", { name: "Save name" }).click();
  await toast(mine, "Name saved");
  await expect(mine.locator(".me-name")).toHaveText(renamed);

  const sessions = mine.getByRole("region", { name: "Sessions" });
  await expect(sessions.getByText("This one")).toHaveCount(1);
  const before = await sessions.locator("tbody tr").count();
  expect(before).toBeGreaterThanOrEqual(3);
  await sessions.getByRole("button", { name: /^End the session/ }).first().click();
  await toast(mine, "Session ended");
  await expect(sessions.locator("tbody tr")).toHaveCount(before - 1);
  await mine.getByRole("button", { name: "Sign out everywhere else" }).click();
  await toast(mine, "You are signed out everywhere else");
  await expect(sessions.locator("tbody tr")).toHaveCount(1);
  const theirs = await second.newPage();
  await theirs.goto(keysPath);
  await expect(theirs, "the other browser").toHaveURL(/\/sign-in/);

  watched.allowStatus(422);
  const change = async (current: string, next: string, repeated = next) => {
    await mine.getByLabel("Current password").fill(current);
    await mine.getByLabel("New password", { exact: true }).fill(next);
    await mine.getByLabel("New password again").fill(repeated);
    await mine.getByRole("button", { name: "Change password" }).click();
  };
  const fresh = "another green lighthouse 42";
  await change("not the password", fresh);
  await expect(mine.locator("#current-note .error")).toBeVisible();
  await change(password, fresh, `${fresh}!`);
  await expect(mine.locator("#repeated-note")).toContainText("The two passwords differ.");
  await change(password, "short");
  await expect(mine.locator("#password-note .error")).toContainText("Use at least 12 characters.");
  await signedIn(person).then((request) => request.dispose());
  await change(password, fresh);
  await toast(mine, "Password changed.");
  await expect(sessions.locator("tbody tr")).toHaveCount(1);
  await expect(mine.getByLabel("Current password")).toHaveValue("");

  await theirs.goto("/sign-in");
  await hydrated(theirs);
  await signInByHand(theirs, person);
  await expect(theirs.getByText("The e-mail address or the password is not right.")).toBeVisible();
  await signInByHand(theirs, { ...person, password: fresh });
  await expect(theirs).toHaveURL(new RegExp(`${keysPath}$`));
  watched.check();
  await first.close();
  await second.close();
});

test("the organization is renamed", async ({ browser }) => {
  const context = await browserOf(browser, await newOrganization(unique("Before")));
  const page = await context.newPage();
  const watched = watch(page);
  await open(page, "/dashboard/settings/organization");
  watched.allowStatus(422);
  await page.getByLabel("Name", { exact: true }).fill(" ");
  await page.getByRole("button", { name: "Save name" }).click();
  await expect(page.getByText("Give a name.")).toBeVisible();
  await page.getByLabel("Name", { exact: true }).fill("Müller & Söhne");
  await page.getByRole("button", { name: "Save name" }).click();
  await toast(page, "Organization renamed");
  await expect(page.locator(".organization")).toContainText("Müller & Söhne");
  await page.reload();
  await expect(page.locator(".organization")).toContainText("Müller & Söhne");
  watched.check();
  await context.close();
});

test("the audit log says who did what, from where", async ({ page, goto }) => {
  const name = unique("Audited");
  const { id } = await makeKey(page.request, name);
  await goto("/dashboard/settings/audit");
  const row = line(page, name).first();
  await expect(row).toContainText(owner.email);
  await expect(row).toContainText("created the key");
  await expect(row).toContainText("127.0.0.1");
  await page.getByLabel("Action").selectOption("api_key.created");
  await page.getByRole("button", { name: "Filter" }).click();
  await expect(page).toHaveURL(/action=api_key\.created/);
  await expect(line(page, "signed in")).toHaveCount(0);
  await expect(row).toBeVisible();
  await row.getByRole("link", { name }).click();
  await expect(page).toHaveURL(new RegExp(`panel=history&key=${id}`));
  await expect(page.getByRole("dialog", { name: `History of ${name}` })).toContainText("created the key");
});

test("an id of another organization is not found", async ({ page, goto, complaints, browser }) => {
  const context = await browserOf(browser, await newOrganization(unique("Other")));
  const name = unique("Foreign");
  const { id } = await makeKey(context.request, name);
  complaints.allowStatus(404);
  for (const panel of ["usage", "history", "edit", "regenerate", "revoke", "created"]) {
    const answer = await goto(`${keysPath}?panel=${panel}&key=${id}`);
    expect(answer?.status(), panel).toBe(404);
    await expect(page.locator("dialog[open]"), panel).toContainText("belongs to another organization");
    expect(await page.content(), panel).not.toContain(name);
  }
  expect(await countKeys(page.request, id)).toBe(0);
  expect(await countKeys(context.request, id)).toBe(1);
  await context.close();
});
