// What every test uses instead of Playwright's own `test`.
//
// `page` fails its test when the page complains: an error on the console (that is where a broken hydration shows), an
// uncaught exception, a request that failed or was answered with an error nobody expected.
// `goto` opens a path and waits until the page listens: a page is visible before it is alive.
import AxeBuilder from "@axe-core/playwright";
import { type APIRequestContext, type Locator, type Page, type Response, test as base, expect } from "@playwright/test";
import * as where from "./where";

export { expect };
export type { Locator, Page, Response };

export type Theme = "light" | "dark";
export const themes: readonly Theme[] = ["light", "dark"];

/** What a page may complain about in one test, when the test provokes it. */
export interface Complaints {
  /** Lets an answer with this status pass from now on, such as 409 in a test of two editors. */
  allowStatus(...statuses: number[]): void;
  /** Lets console lines that match pass from now on. */
  allowConsole(pattern: RegExp): void;
  /** What has been complained about so far. */
  readonly seen: readonly string[];
}

interface Fixtures {
  complaints: Complaints;
  goto: (path: string) => Promise<Response | null>;
  /** Checks the page in both themes. */
  axe: () => Promise<void>;
  /** Calls the public API with a key. */
  api: (key: string) => Api;
}

/** Watches a page; also for pages that a test opens by itself, such as the second editor's. */
export function watch(page: Page): Complaints & { check(): void } {
  const statuses = new Set<number>();
  const patterns: RegExp[] = [];
  const seen: string[] = [];
  const note = (text: string) => {
    if (!patterns.some((pattern) => pattern.test(text))) seen.push(text);
  };
  page.on("console", (message) => {
    if (message.type() !== "error") return;
    const text = message.text();
    // Chromium writes each error status on the console too; `response` below judges those.
    if (text.startsWith("Failed to load resource: the server responded with a status of")) return;
    note(`console: ${text} (${message.location().url})`);
  });
  page.on("pageerror", (error) => note(`exception: ${error.stack ?? error.message}`));
  page.on("requestfailed", (request) => {
    const reason = request.failure()?.errorText ?? "failed";
    // Leaving a page, or closing a live stream, ends its requests; that is no failure of theirs.
    if (reason === "net::ERR_ABORTED") return;
    // What a policy blocks is on the console too. With JavaScript off, every script counts as blocked.
    if (reason === "csp") return;
    note(`request: ${request.method()} ${request.url()}: ${reason}`);
  });
  page.on("response", (response) => {
    if (response.status() < 400 || statuses.has(response.status())) return;
    note(`answer ${response.status()}: ${response.request().method()} ${response.url()}`);
  });
  return {
    seen,
    allowStatus: (...more) => more.forEach((status) => statuses.add(status)),
    allowConsole: (pattern) => patterns.push(pattern),
    check: () => expect(seen, "what the page complained about").toEqual([]),
  };
}

/** Opens a path and, where scripts run, waits until the page is hydrated. */
export async function open(page: Page, path: string, scripts = true): Promise<Response | null> {
  const response = await page.goto(path);
  if (scripts) await hydrated(page);
  return response;
}

/** Waits until the page listens to the mouse and the keyboard. */
export async function hydrated(page: Page): Promise<void> {
  await expect(page.locator("html")).toHaveAttribute("data-hydrated", "true", { timeout: 30_000 });
}

/** Chooses a theme as the server reads it: by its cookie. Takes effect with the next page. */
export async function chooseTheme(page: Page, theme: Theme | "system"): Promise<void> {
  await page.context().addCookies([{ name: "theme", value: theme, url: where.url }]);
}

/** Shows the open page in a theme, without loading it anew, so that dialogs stay open. */
export async function showTheme(page: Page, theme: Theme): Promise<void> {
  await page.evaluate((name) => document.documentElement.setAttribute("data-theme", name), theme);
}

export async function checkAccessibility(page: Page, inThemes: readonly Theme[] = themes): Promise<void> {
  const before = await page.locator("html").getAttribute("data-theme");
  for (const theme of inThemes) {
    await showTheme(page, theme);
    // A colour that is still on its way is neither the old nor the new one.
    // (One that goes on for ever, such as the radar's, or in a part that is not drawn, is never over.)
    await page.evaluate(() =>
      Promise.race([
        Promise.all(document.getAnimations().map((animation) => animation.finished.catch(() => {}))),
        new Promise((over) => setTimeout(over, 500)),
      ]),
    );
    const builder = new AxeBuilder({ page }).withTags(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]);
    const { violations } = await builder.analyze();
    const found = violations.map(({ id, help, nodes }) => `${id}: ${help}\n    ${nodes.map((node) => node.target.join(" ")).join("\n    ")}`);
    expect(found, `accessibility of ${page.url()}, ${theme} theme`).toEqual([]);
  }
  if (before) await page.evaluate((name) => document.documentElement.setAttribute("data-theme", name), before);
}

const heightAt = (width: number) => (width < 700 ? 740 : 800);

/** A page that must be scrolled sideways is broken at this width. */
export async function checkWidths(page: Page, what: string, widths: readonly number[] = [360, 768, 1280, 1920]): Promise<void> {
  const size = page.viewportSize();
  for (const width of widths) {
    await page.setViewportSize({ width, height: heightAt(width) });
    const { excess, culprit } = await page.evaluate(() => {
      const root = document.documentElement;
      const wide = [...document.querySelectorAll("body *")].filter((element) => element.getBoundingClientRect().right > root.clientWidth + 1).pop();
      return { excess: root.scrollWidth - root.clientWidth, culprit: wide?.outerHTML.slice(0, 200) };
    });
    expect(excess, `${what} overflows at ${width} px, perhaps by ${culprit}`).toBeLessThanOrEqual(0);
  }
  if (size) await page.setViewportSize(size);
}

/** Takes the pictures that people look at: this page as it is, in both themes, at the given widths. */
export async function picture(page: Page, name: string, widths: readonly number[] = [360, 1280]): Promise<void> {
  const size = page.viewportSize();
  const before = await page.locator("html").getAttribute("data-theme");
  for (const width of widths) {
    await page.setViewportSize({ width, height: heightAt(width) });
    for (const theme of themes) {
      await showTheme(page, theme);
      await page.screenshot({ path: `${where.screenshots}/${name}-${theme}-${width}.png`, animations: "disabled", caret: "hide" });
    }
  }
  if (before) await page.evaluate((theme) => document.documentElement.setAttribute("data-theme", theme), before);
  if (size) await page.setViewportSize(size);
}

/** The public API, as a customer's program sees it. */
export class Api {
  constructor(
    private readonly request: APIRequestContext,
    private readonly key: string,
  ) {}

  get(path: string, headers: Record<string, string> = {}) {
    return this.request.get(`${where.url}/api/v1${path}`, { headers: { authorization: `Bearer ${this.key}`, ...headers } });
  }

  post(path: string, data: unknown, headers: Record<string, string> = {}) {
    return this.request.post(`${where.url}/api/v1${path}`, { data, headers: { authorization: `Bearer ${this.key}`, ...headers } });
  }
}

/** A name that no other test has. */
export function unique(name: string): string {
  return `${name} ${Math.random().toString(36).slice(2, 8)}`;
}

export const test = base.extend<Fixtures>({
  complaints: [
    async ({ page }, use) => {
      const watched = watch(page);
      await use(watched);
      watched.check();
    },
    { auto: true },
  ],
  goto: async ({ page, javaScriptEnabled }, use) => {
    await use((path) => open(page, path, javaScriptEnabled !== false));
  },
  axe: async ({ page }, use) => {
    await use(() => checkAccessibility(page));
  },
  api: async ({ playwright }, use) => {
    // Without the cookies of the signed-in person: a program has none.
    const context = await playwright.request.newContext({ storageState: { cookies: [], origins: [] } });
    await use((key) => new Api(context, key));
    await context.dispose();
  },
});
