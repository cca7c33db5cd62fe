import { defineConfig, devices } from "@playwright/test";
import * as where from "./support/where";

// A browser that only does what the tests ask: nothing of its own on the network, and no sandbox for root, which has none.
const args = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"];
if (process.getuid?.() === 0) args.push("--no-sandbox");

// The organization is made once, through the page people use; everything after it is signed in.
const signedIn = { storageState: where.ownerState };
const needs = { dependencies: ["setup"] };
const desktop = { ...devices["Desktop Chrome"], viewport: { width: 1280, height: 800 } };
// These have servers of their own, which they kill, starve and overrun.
const servers = ["crash.spec.ts", "load.spec.ts", "outage.spec.ts"];

export default defineConfig({
  testDir: "tests",
  outputDir: "test-results",
  globalSetup: "./support/global-setup.ts",
  // One server and one database for all: tests name what they make after themselves, and may run side by side.
  fullyParallel: true,
  workers: 2,
  forbidOnly: Boolean(process.env.CI),
  // A machine that is shared may stall a browser for a while; a test that needs its second try is reported as flaky.
  retries: process.env.CI ? 1 : 0,
  timeout: 60_000,
  expect: { timeout: 10_000 },
  reporter: process.env.CI ? [["list"]] : [["list"], ["html", { open: "never" }]],
  use: {
    baseURL: where.url,
    actionTimeout: 10_000,
    navigationTimeout: 15_000,
    locale: "en-GB",
    timezoneId: "Europe/Berlin",
    trace: "retain-on-failure",
    screenshot: "only-on-failure",
    launchOptions: { executablePath: where.chromium(), args },
  },
  projects: [
    { name: "setup", testMatch: "setup.spec.ts", use: { ...desktop } },
    { name: "chromium", ...needs, testIgnore: ["setup.spec.ts", "nojs.spec.ts", ...servers], use: { ...desktop, ...signedIn } },
    { name: "nojs", ...needs, testMatch: "nojs.spec.ts", use: { ...desktop, javaScriptEnabled: false } },
    { name: "servers", ...needs, testMatch: servers, use: { ...desktop } },
  ],
});
